//! `unlag explain`: the waterfall of a request, the phase that was out of the ordinary, and why what was decided was decided; or,
//! for a URL, what would be.

use crate::Failed;
use crate::admin::Admin;
use crate::args::ExplainOptions;
use crate::papers::print;
use anyhow::anyhow;
use serde_json::Value;
use std::fmt::Write;

/// Runs the command.
pub(crate) fn run(options: ExplainOptions) -> Result<(), Failed> {
    let admin = Admin::find(&options.admin)?;
    let id = match options.id {
        Some(id) => id,
        None => slowest(&admin)?,
    };
    if id.contains("://") || id.starts_with('/') {
        let path = format!("/api/v1/explain?method={}&url={}", escaped(&options.method), escaped(&id));
        return show(&admin, &admin.get(&path)?, options.json);
    }
    let harmless = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte));
    if !harmless {
        return Err(anyhow!("{id:?} is not a request id").into());
    }
    let in_path = id.replace('/', "%2F").replace('+', "%2B");
    show(&admin, &admin.get(&format!("/api/v1/explain/{in_path}"))?, options.json)
}

fn show(admin: &Admin, answer: &Value, as_json: bool) -> Result<(), Failed> {
    let Some(text) = answer.get("text").and_then(|text| text.as_str()) else {
        return Err(admin.stranger().into());
    };
    if as_json {
        return print(&format!("{:#}\n", answer.get("json").unwrap_or(answer)));
    }
    print(&format!("{text}\n"))
}

/// As it may stand in a query, whatever is in it.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

fn slowest(admin: &Admin) -> Result<String, Failed> {
    let answer = admin.get("/api/v1/requests?slow=0ms&limit=1")?;
    let requests = answer.get("requests").and_then(|requests| requests.as_array());
    let first = requests.ok_or_else(|| admin.stranger())?.first();
    let first = first.and_then(|request| request.get("id")?.as_str());
    Ok(first.ok_or_else(|| anyhow!("no request was recorded yet"))?.to_owned())
}
