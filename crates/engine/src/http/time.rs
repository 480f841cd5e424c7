//! Dates in the three forms that HTTP has had (RFC 9110 §5.6.7). Letter case is free, everything else is not: a date that needs
//! guessing is none, and what depends on it is stale.

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
/// What the names of days had behind these in the form of RFC 850.
const LONG_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Seconds since 1970 of a date. `now_s` settles the century of years with two digits.
pub fn parse(value: &[u8], now_s: u64) -> Option<u64> {
    let text = value.to_ascii_lowercase();
    let mut rest = Text(&text);
    let day_name = rest.word()?;
    if LONG_DAYS.iter().any(|day| day.as_bytes() == day_name) {
        return rest.rfc850(civil(now_s / 86_400).0);
    }
    if !DAYS.iter().any(|day| day.as_bytes() == day_name) {
        return None;
    }
    if rest.take(b", ") { rest.imf() } else { rest.asctime() }
}

/// What is left of a date.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    fn take(&mut self, expected: &[u8]) -> bool {
        let rest = self.0.strip_prefix(expected);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn expect(&mut self, expected: &[u8]) -> Option<()> {
        self.take(expected).then_some(())
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let len = self.0.iter().position(|byte| !byte.is_ascii_lowercase()).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(word)
    }

    fn number(&mut self, digits: usize) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(digits)?;
        self.0 = rest;
        let is_number = number.iter().all(u8::is_ascii_digit);
        is_number.then(|| number.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
    }

    fn month(&mut self) -> Option<u64> {
        let word = self.word()?;
        MONTHS.iter().position(|month| month.as_slice() == word).map(|at| at as u64 + 1)
    }

    /// `hh:mm:ss`, a leap second among them.
    fn time(&mut self) -> Option<u64> {
        let hours = self.number(2).filter(|&hours| hours < 24)?;
        self.expect(b":")?;
        let minutes = self.number(2).filter(|&minutes| minutes < 60)?;
        self.expect(b":")?;
        let seconds = self.number(2).filter(|&seconds| seconds <= 60)?;
        Some(hours * 3_600 + minutes * 60 + seconds)
    }

    /// `06 nov 1994 08:49:37 gmt`
    fn imf(mut self) -> Option<u64> {
        let day = self.number(2)?;
        self.expect(b" ")?;
        let month = self.month()?;
        self.expect(b" ")?;
        let year = self.number(4)?;
        self.expect(b" ")?;
        let time = self.time()?;
        (self.0 == b" gmt").then(|| moment(year, month, day, time))?
    }

    /// `, 06-nov-94 08:49:37 gmt`: of the years that end so, one that is not more than 50 ahead.
    fn rfc850(mut self, this_year: u64) -> Option<u64> {
        self.expect(b", ")?;
        let day = self.number(2)?;
        self.expect(b"-")?;
        let month = self.month()?;
        self.expect(b"-")?;
        let year = this_year / 100 * 100 + self.number(2)?;
        let year = if year > this_year + 50 { year - 100 } else { year };
        self.expect(b" ")?;
        let time = self.time()?;
        (self.0 == b" gmt").then(|| moment(year, month, day, time))?
    }

    /// ` nov  6 08:49:37 1994`
    fn asctime(mut self) -> Option<u64> {
        self.expect(b" ")?;
        let month = self.month()?;
        self.expect(b" ")?;
        let day = if self.take(b" ") { self.number(1)? } else { self.number(2)? };
        self.expect(b" ")?;
        let time = self.time()?;
        self.expect(b" ")?;
        let year = self.number(4)?;
        self.0.is_empty().then(|| moment(year, month, day, time))?
    }
}

/// Seconds since 1970; earlier moments are 0.
fn moment(year: u64, month: u64, day: u64, time: u64) -> Option<u64> {
    let days = days_before(year, month)?.checked_add(day.checked_sub(1)?)?;
    // A day that its month does not have belongs to the next one.
    let (same_year, same_month, _) = civil_of(days);
    (same_year == year && same_month == month)
        .then(|| (days * 86_400 + time).saturating_sub(DAYS_TO_1970 * 86_400))
}

/// Days from the first of March of the year 0 to 1 January 1970, minus what the formula below begins with.
const DAYS_TO_1970: u64 = 719_468;

/// Days from 1 March 0 to the first of a month (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn days_before(year: u64, month: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let era = year / 400;
    let of_era = year % 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year)
}

/// Year, month and day of days since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    civil_of(days + DAYS_TO_1970)
}

/// The same, of days since 1 March 0.
fn civil_of(days: u64) -> (u64, u64, u64) {
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IN_2026: u64 = 1_780_000_000;

    #[test]
    fn the_three_forms_name_the_same_moment() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "sunday, 06-NOV-94 08:49:37 gmt", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text.as_bytes(), IN_2026), Some(784_111_777), "{text}");
        }
        assert_eq!(parse(b"Sun, 06-Nov-94 08:49:37 GMT", IN_2026), None, "the short name of another form");
        assert_eq!(
            parse(b"Monday, 06-Nov-70 08:49:37 GMT", IN_2026),
            parse(b"Mon, 06 Nov 2070 08:49:37 GMT", IN_2026)
        );
        assert_eq!(
            parse(b"Monday, 06-Nov-80 08:49:37 GMT", IN_2026),
            parse(b"Mon, 06 Nov 1980 08:49:37 GMT", IN_2026)
        );
    }

    #[test]
    fn a_date_that_needs_guessing_is_none() {
        for text in [
            "",
            "0",
            "-1",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 94 08:49:37 GMT",
            "Sun, 06 Nov 1994 8:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun 06 Nov 1994 08:49:37 GMT",
            "Sun,  06 Nov 1994 08:49:37 GMT",
            "Sun, 06-Nov-1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Son, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08:49:37 GMT, x",
        ] {
            assert_eq!(parse(text.as_bytes(), IN_2026), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_date_is_read_back_as_it_was_written(unix_s in 0u64..253_402_300_799) {
            let written = httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(unix_s));
            prop_assert_eq!(parse(written.as_bytes(), IN_2026), Some(unix_s));
            let short = format!("Monday, 01-Jan-{} 00:00:00 GMT", &written[14..16]);
            prop_assert_eq!(parse(short.as_bytes(), unix_s), parse(format!("Mon, 01 Jan {} 00:00:00 GMT", &written[12..16]).as_bytes(), 0));
        }
    }
}
