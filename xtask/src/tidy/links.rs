//! Links between the Markdown files of the repository lead somewhere.

use super::Finding;
use super::source::Source;

/// Reports relative links whose target is not there; `exists` answers for paths beside the file.
pub(crate) fn check(source: &Source<'_>, exists: &dyn Fn(&str) -> bool, findings: &mut Vec<Finding>) {
    if !source.path.ends_with(".md") {
        return;
    }
    let mut fenced = false;
    for (at, line) in source.text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for target in targets(line) {
            let file = target.split('#').next().unwrap_or(target);
            if !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:") && !exists(file) {
                let advice = format!("`{file}` is not there");
                findings.push(Finding { file: source.path.to_owned(), line: at + 1, rule: "link", advice });
            }
        }
    }
}

/// What stands between `](` and `)`.
fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|after| Some(after.split_once(')')?.0))
}
