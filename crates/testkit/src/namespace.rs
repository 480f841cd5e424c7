//! Namespaces for a child: a host file, a network or a clock of its own, where the system allows it.

use std::path::Path;
use std::process::Command;

/// Whether `unshare` takes these flags; some containers do not allow namespaces, which skips `test`.
pub fn allowed(test: &str, flags: &[&str]) -> bool {
    let allowed =
        Command::new("unshare").args(flags).arg("true").output().is_ok_and(|done| done.status.success());
    if !allowed {
        let shown =
            flags.iter().take_while(|flag| flag.starts_with('-')).copied().collect::<Vec<_>>().join(" ");
        let reason = format!(
            "`unshare {shown}` (Debian: util-linux, iproute2) is not allowed here; it is for root, and for others where \
             kernel.unprivileged_userns_clone and user.max_user_namespaces say so"
        );
        crate::skip::skip(test, &reason);
    }
    allowed
}

/// Wraps a child so that it finds the file `hosts` instead of `/etc/hosts`; `None` where that is not allowed.
pub fn with_hosts(test: &str, hosts: &Path) -> Option<String> {
    let mount = |file: &str| format!("mount --bind {file} /etc/hosts && exec \"$@\"");
    let flags = ["-U", "-r", "-m", "sh", "-c"];
    let itself = mount("/etc/hosts");
    let trial = [&flags[..], &[itself.as_str(), "sh"]].concat();
    let shell =
        format!("exec unshare {} '{}' sh \"$@\"", flags.join(" "), mount(&hosts.display().to_string()));
    allowed(test, &trial).then_some(shell)
}
