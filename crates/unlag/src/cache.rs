//! `unlag cache`: what the cache holds and has done, and purges.

mod table;

use crate::Failed;
use crate::admin::Admin;
use crate::args::{CacheCommand, CachePurgeOptions, CacheStatsOptions};
use crate::papers::print;
use serde_json::{Value, json};

/// Runs the command.
pub(crate) fn run(command: CacheCommand) -> Result<(), Failed> {
    match command {
        CacheCommand::Stats(options) => stats(options),
        CacheCommand::Purge(options) => purge(options),
    }
}

fn stats(options: CacheStatsOptions) -> Result<(), Failed> {
    let admin = Admin::find(&options.admin)?;
    let cache = admin.get("/api/v1/cache")?;
    if !cache.get("memory").is_some_and(Value::is_object) {
        return Err(admin.stranger().into());
    }
    match options.json {
        true => print(&format!("{cache:#}\n")),
        false => print(&table::of(&cache)),
    }
}

fn purge(options: CachePurgeOptions) -> Result<(), Failed> {
    let admin = Admin::find(&options.admin)?;
    let named = |kind: &'static str, names: &[String]| -> Vec<(&'static str, Value)> {
        names.iter().map(|name| (kind, json!(name))).collect()
    };
    let mut wanted = named("url", &options.urls);
    wanted.extend(named("tag", &options.tags));
    wanted.extend(named("prefix", &options.prefixes));
    wanted.extend(options.all.then_some(("all", json!(true))));
    let mut done = Vec::with_capacity(wanted.len());
    for (kind, name) in wanted {
        let order = json!({ kind: name, "soft": options.soft, "dry_run": options.dry_run });
        let mut answer = admin.post("/api/v1/cache/purge", &order)?;
        // Success is what the answer says, not that there is one.
        if answer.get("purged") != Some(&json!(!options.dry_run)) {
            return Err(admin.stranger().into());
        }
        if options.json {
            // Which of several it is about.
            if let Some(answer) = answer.as_object_mut() {
                answer.insert(kind.to_owned(), name);
            }
            done.push(answer);
        } else {
            print(&outcome(kind, &name, &answer))?;
        }
    }
    if options.json {
        return print(&format!("{:#}\n", json!({ "purges": done })));
    }
    Ok(())
}

/// What came of one purge, in a line.
fn outcome(kind: &str, name: &Value, answer: &Value) -> String {
    let what = match name.as_str() {
        Some(name) => format!("{kind} {name}"),
        None => "everything".to_owned(),
    };
    let is_soft = answer["soft"] == true;
    if answer["dry_run"] != true {
        let done = if is_soft { "stale now" } else { "purged" };
        return format!("{done}: {what}\n");
    }
    let count = |key: &str| answer[key].as_u64().unwrap_or(0);
    let (objects, bytes) = (count("objects"), table::bytes(count("bytes")));
    let answers = if objects == 1 { "answer" } else { "answers" };
    let would = if is_soft { "would become stale" } else { "would be purged" };
    format!("{objects} {answers} of {bytes} {would}: {what}\n")
}
