//! `unlag explain`: the waterfall of a request and the phase that was out of the ordinary.

use crate::Failed;
use crate::admin::Admin;
use crate::args::ExplainOptions;
use crate::papers::print;
use anyhow::anyhow;

/// Runs the command.
pub(crate) fn run(options: ExplainOptions) -> Result<(), Failed> {
    let admin = Admin::find(&options.admin)?;
    let id = match options.id {
        Some(id) => id,
        None => slowest(&admin)?,
    };
    let harmless = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte));
    if !harmless {
        return Err(anyhow!("{id:?} is not a request id").into());
    }
    let in_path = id.replace('/', "%2F").replace('+', "%2B");
    let answer = admin.get(&format!("/api/v1/explain/{in_path}"))?;
    let Some(text) = answer.get("text").and_then(|text| text.as_str()) else {
        return Err(admin.stranger().into());
    };
    if options.json {
        return print(&format!("{:#}\n", answer.get("json").unwrap_or(&answer)));
    }
    print(&format!("{text}\n"))
}

fn slowest(admin: &Admin) -> Result<String, Failed> {
    let answer = admin.get("/api/v1/requests?slow=0ms&limit=1")?;
    let requests = answer.get("requests").and_then(|requests| requests.as_array());
    let first = requests.ok_or_else(|| admin.stranger())?.first();
    let first = first.and_then(|request| request.get("id")?.as_str());
    Ok(first.ok_or_else(|| anyhow!("no request was recorded yet"))?.to_owned())
}
