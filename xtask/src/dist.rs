//! `cargo xtask dist`: the binary that ships, packed with its licences, and a checksum beside it.

use std::fs;

use anyhow::{Context, Result};

use crate::process::{command, root, run_quietly};
use crate::trained::{self, Counts};

/// What goes into the archive beside the binary.
const PAPERS: [&str; 5] = ["README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE-APACHE", "LICENSE-MIT"];

/// Builds with the `dist` profile and writes `target/dist/unlag-VERSION-HOST.tar.gz`.
pub(crate) fn run_dist() -> Result<()> {
    let built = trained::build(Counts::New)?;
    let version = env!("CARGO_PKG_VERSION");
    let name = format!("unlag-{version}-{}", trained::host()?);
    let out = root().join("target").join("dist");
    let folder = out.join(&name);
    fs::create_dir_all(&folder)?;
    fs::copy(&built, folder.join("unlag")).with_context(|| format!("cannot copy {}", built.display()))?;
    for paper in PAPERS {
        fs::copy(root().join(paper), folder.join(paper)).with_context(|| format!("cannot copy {paper}"))?;
    }
    let archive = format!("{name}.tar.gz");
    // Owner and order are fixed, so that equal contents give equal bytes.
    let mut tar = command("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "-czf", &archive, &name]);
    run_quietly(tar.current_dir(&out))?;
    let sum = run_quietly(command("sha256sum").arg(&archive).current_dir(&out))?;
    fs::write(out.join(format!("{archive}.sha256")), &sum)?;
    println!("{}\n{}", out.join(&archive).display(), sum.trim());
    Ok(())
}
