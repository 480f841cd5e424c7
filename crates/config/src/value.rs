//! Values with a unit or a form of their own: durations, sizes, shares, addresses, networks. Text in, value
//! or blame out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::model::{Address, Network};
use crate::problem::{Invalid, quoted};

/// Longest duration that is taken seriously: a year. More is a slip, and sums of durations cannot overflow
/// below it.
pub(crate) const DURATION_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Largest size: 1 PiB, far above any memory and far below an overflow.
pub(crate) const SIZE_MAX: u64 = 1 << 50;

const DURATION_UNITS: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
const DURATION_HELP: &str =
    r#"a duration is a whole number and a unit, ms, s, m, h or d: "250ms", "5s", "2m", "1h""#;
const SIZE_HELP: &str = r#"a size is a whole number and a unit, B, KiB, MiB or GiB: "512B", "64KiB", "1MiB""#;

/// `"250ms"`, `"5s"`, `"2m"`, `"1h"`, `"1d"`.
pub(crate) fn duration(text: &str) -> Result<Duration, Invalid> {
    let milliseconds = scaled(text, "duration", &DURATION_UNITS, DURATION_HELP)?;
    let duration = Duration::from_millis(milliseconds);
    if duration > DURATION_MAX {
        return Err(Invalid::new(
            format!("{} is more than a year", quoted(text)),
            "the longest duration is \"365d\"",
        ));
    }
    Ok(duration)
}

/// `"512B"`, `"64KiB"`, `"1MiB"`, `"2GiB"`.
pub(crate) fn size(text: &str) -> Result<u64, Invalid> {
    let bytes = scaled(text, "size", &SIZE_UNITS, SIZE_HELP)?;
    if bytes > SIZE_MAX {
        return Err(Invalid::new(
            format!("{} is too large", quoted(text)),
            "the largest size is \"1048576GiB\"",
        ));
    }
    Ok(bytes)
}

/// A whole number and a unit, multiplied.
fn scaled(text: &str, what: &str, units: &[(&str, u64)], help: &str) -> Result<u64, Invalid> {
    let refuse = |why: &str| Err(Invalid::new(format!("{} is not a {what}: {why}", quoted(text)), help));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    if text.starts_with('-') {
        return refuse("it cannot be negative");
    }
    if number.is_empty() {
        return refuse("it starts with no number");
    }
    if unit.is_empty() {
        return refuse("the unit is missing");
    }
    if unit.starts_with('.') {
        return refuse("the number must be whole; take a smaller unit");
    }
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return refuse(&format!("unknown unit {}", quoted(unit)));
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor)) {
        Some(value) => Ok(value),
        None => refuse("the number is too large"),
    }
}

/// `"5%"` or `"0.5%"`, up to 100, as a fraction.
pub(crate) fn share(text: &str) -> Result<f64, Invalid> {
    let help = r#"a share is a number up to 100 with a percent sign: "5%", "0.5%""#;
    let number = text.strip_suffix('%').unwrap_or("");
    let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    match number.parse::<f64>() {
        Ok(percent) if plain && percent <= 100.0 => Ok(percent / 100.0),
        _ => Err(Invalid::new(format!("{} is not a share", quoted(text)), help)),
    }
}

/// `"127.0.0.1:8080"`, `"[::1]:8080"` or `"unix:/run/unlag.sock"`.
pub(crate) fn address(text: &str) -> Result<Address, Invalid> {
    let help = r#"an address is an IP address and a port, "127.0.0.1:8080" or "[::1]:8080", or a socket, "unix:/run/unlag.sock""#;
    if let Some(path) = text.strip_prefix("unix:") {
        return socket_path(path).map(|path| Address::Unix(PathBuf::from(path)));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Tcp(address));
    }
    let hint = match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => {
            format!(
                r#"write "0.0.0.0:{port}" for every IPv4 address, "127.0.0.1:{port}" for this machine only"#
            )
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => {
            format!(r#"names are not looked up here: write "127.0.0.1:{port}" or "[::1]:{port}""#)
        }
        _ if text.parse::<IpAddr>().is_ok() => format!("the port is missing; {help}"),
        _ => help.to_owned(),
    };
    Err(Invalid::new(format!("{} is not an address to listen on", quoted(text)), hint))
}

/// The path of a Unix socket; the kernel takes 107 bytes.
pub(crate) fn socket_path(path: &str) -> Result<&str, Invalid> {
    match path.len() {
        0 => Err(Invalid::new("the path of the socket is missing", r#"for example "unix:/run/unlag.sock""#)),
        1..=107 if !path.contains(char::is_control) => Ok(path),
        1..=107 => Err(Invalid::new("the path of the socket holds control characters", "take them out")),
        _ => Err(Invalid::new("the path of the socket is too long", "at most 107 bytes")),
    }
}

/// `"10.0.0.0/8"`, `"192.0.2.7"`, `"fd00::/8"`.
pub(crate) fn network(text: &str) -> Result<Network, Invalid> {
    let help = r#"a network is an IP address, perhaps with a prefix: "10.0.0.0/8", "192.0.2.7", "fd00::/8""#;
    let refuse = || Invalid::new(format!("{} is not a network", quoted(text)), help);
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| refuse())?;
    let bits: u8 = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        None => bits,
        Some(prefix) if prefix.bytes().all(|b| b.is_ascii_digit()) => prefix.parse().map_err(|_| refuse())?,
        Some(_) => return Err(refuse()),
    };
    if prefix > bits {
        let help = format!("an IPv{} prefix has at most {bits} bits", if bits == 32 { 4 } else { 6 });
        return Err(Invalid::new(format!("the prefix of {} is too long", quoted(text)), help));
    }
    let start = match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u32::from(128 - prefix)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    };
    if start != address {
        let help =
            format!(r#"write "{start}/{prefix}" for the whole network, "{address}" for this one address"#);
        return Err(Invalid::new(format!("{} has bits set behind its prefix", quoted(text)), help));
    }
    Ok(Network { address, prefix })
}

/// A duration as it is written in a file, in the largest unit that holds it exactly.
pub(crate) fn duration_text(duration: Duration) -> String {
    written(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), &DURATION_UNITS)
}

/// A size as it is written in a file, in the largest unit that holds it exactly.
pub(crate) fn size_text(bytes: u64) -> String {
    written(bytes, &SIZE_UNITS)
}

/// A share as it is written in a file.
pub(crate) fn share_text(share: f64) -> String {
    // Three digits behind the point are as many as a share is ever meant to have; what division left behind them goes.
    format!("{}%", (share * 100_000.0).round() / 1_000.0)
}

fn written(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |factor: u64| value >= factor && value.is_multiple_of(factor);
    match units.iter().rev().find(|(_, factor)| fits(*factor)).or(units.first()) {
        Some((unit, factor)) => format!("{}{unit}", value / factor),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_have_whole_numbers_and_known_units() {
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(duration("1d").unwrap(), Duration::from_secs(86_400));
        assert_eq!(size("64KiB").unwrap(), 65_536);
        for bad in ["", "5", "s", "-5s", "1.5s", "5 s", "5S", "1m30s", "366d", "99999999999999999999s", "٣s"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
        for bad in ["", "1KB", "1k", "64kib", "-1B", "2097152GiB", "99999999999GiB"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["0ms", "1500ms", "90s", "2m", "24h", "7d"] {
            let value = duration(text).unwrap();
            assert_eq!(duration(&duration_text(value)).unwrap(), value);
        }
        assert_eq!(size_text(1 << 20), "1MiB");
        assert_eq!(size_text(1_000), "1000B");
        assert_eq!(duration_text(Duration::from_secs(60)), "1m");
        for text in ["0%", "0.1%", "0.005%", "7%", "33.3%", "100%"] {
            assert_eq!(share_text(share(text).unwrap()), text);
        }
    }

    #[test]
    fn shares_are_at_most_everything() {
        assert_eq!(share("5%").unwrap(), 0.05);
        assert_eq!(share("100%").unwrap(), 1.0);
        assert_eq!(share("0%").unwrap(), 0.0);
        for bad in ["101%", "5", "%", "-1%", "1e1%", "nan%", "inf%", "5 %"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_network_contains_its_addresses_and_no_others() {
        let ten = network("10.0.0.0/8").unwrap();
        assert!(ten.contains("10.255.1.2".parse().unwrap()));
        assert!(ten.contains("::ffff:10.1.2.3".parse().unwrap()));
        assert!(!ten.contains("11.0.0.1".parse().unwrap()));
        assert!(network("0.0.0.0/0").unwrap().contains("203.0.113.9".parse().unwrap()));
        assert!(!network("0.0.0.0/0").unwrap().contains("2001:db8::1".parse().unwrap()));
        assert!(network("fd00::/8").unwrap().contains("fd12::1".parse().unwrap()));
        assert_eq!(network("192.0.2.7").unwrap().to_string(), "192.0.2.7/32");
        for bad in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "::/129", "x"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_numeric_or_a_socket() {
        assert!(matches!(address("[::1]:0").unwrap(), Address::Tcp(_)));
        assert!(matches!(address("unix:/run/x.sock").unwrap(), Address::Unix(_)));
        for bad in ["", ":80", "localhost:80", "127.0.0.1", "127.0.0.1:65536", "unix:", "http://127.0.0.1:80"]
        {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
