//! `unlag explain`: the waterfall of a request and the phase that was out of the ordinary.

use crate::Failed;
use crate::admin;
use crate::args::ExplainOptions;
use crate::papers::print;
use anyhow::anyhow;

/// Runs the command.
pub(crate) fn run(options: ExplainOptions) -> Result<(), Failed> {
    let id = match options.id {
        Some(id) => id,
        None => slowest(&options.admin)?,
    };
    let harmless = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte));
    if !harmless {
        return Err(anyhow!("{id:?} is not a request id").into());
    }
    let in_path = id.replace('/', "%2F").replace('+', "%2B");
    let answer = admin::get(&options.admin, &format!("/api/v1/explain/{in_path}"))?;
    if options.json {
        return print(&format!("{:#}\n", answer.get("json").unwrap_or(&answer)));
    }
    print(answer.get("text").and_then(|text| text.as_str()).unwrap_or_default())?;
    print("\n")
}

fn slowest(options: &crate::args::AdminOptions) -> Result<String, Failed> {
    let answer = admin::get(options, "/api/v1/requests?slow=0ms&limit=1")?;
    let first = answer.pointer("/requests/0/id").and_then(|id| id.as_str());
    Ok(first.ok_or_else(|| anyhow!("no request was recorded yet"))?.to_owned())
}
