//! Commands that only print or write something prepared: starter file, schema, completions, manual page, version.

use crate::Failed;
use crate::args::{Cli, InitOptions};
use anyhow::Context;
use clap::CommandFactory;
use std::fs::OpenOptions;
use std::io::Write;

/// `unlag init`
pub(crate) fn init(options: InitOptions) -> Result<(), Failed> {
    let mut open = OpenOptions::new();
    open.write(true).truncate(true);
    if options.force {
        open.create(true)
    } else {
        open.create_new(true)
    };
    let name = options.file.display();
    let mut file = open
        .open(&options.file)
        .with_context(|| format!("cannot write {name} (--force replaces an existing file)"))?;
    file.write_all(unlag_config::starter().as_bytes())?;
    print(&format!("{name} written; edit it, then: unlag check -c {name} && unlag run -c {name}\n"))
}

/// `unlag schema`
pub(crate) fn schema() -> Result<(), Failed> {
    print(&format!("{:#}\n", unlag_config::schema()))
}

/// `unlag completions`
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failed> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "unlag", &mut out);
    print(&String::from_utf8_lossy(&out))
}

/// `unlag man`
pub(crate) fn man(command: &[String]) -> Result<(), Failed> {
    let mut all = Cli::command();
    all.build();
    // A page names what stands below it as `unlag-cache-purge(1)`; it is typed so, or as it is run.
    let mut parts = command.iter().flat_map(|part| part.split('-'));
    let found = parts.try_fold(&all, |above, part| above.find_subcommand(part));
    let unknown = || anyhow::anyhow!("there is no command {:?}; `unlag help` lists them", command.join(" "));
    let page = found.ok_or_else(unknown)?.clone();
    let mut out = Vec::new();
    let title = page.get_display_name().unwrap_or("unlag").to_owned();
    clap_mangen::Man::new(page).title(title).render(&mut out)?;
    print(&String::from_utf8_lossy(&out))
}

/// `unlag version`
pub(crate) fn version() -> Result<(), Failed> {
    print(concat!("unlag ", env!("CARGO_PKG_VERSION"), "\n"))
}

/// Prints to stdout; a reader that has gone away is no error.
pub(crate) fn print(text: &str) -> Result<(), Failed> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
