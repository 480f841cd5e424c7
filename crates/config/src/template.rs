//! Text with parameters of the route's pattern in it: `/new/{rest}`.

use std::fmt;

use crate::pattern::Pattern;
use crate::problem::{Invalid, nearest, quoted};

/// Text and parameters in the order in which they are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<Part>);

/// A piece of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Copied as it is.
    Text(String),
    /// The value of this parameter of the pattern, as it came in the request.
    Param(String),
}

impl Template {
    /// Reads a template whose parameters must be those of `pattern`.
    ///
    /// # Errors
    /// On a parameter that the pattern does not have, a stray brace, or a character that cannot stand in a URL.
    pub fn parse(text: &str, pattern: &Pattern) -> Result<Self, Invalid> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            let start = text.len() - from.len();
            let (Some(inside), Some(end)) = (from.strip_prefix('{'), from.find('}')) else {
                let help = "write `{name}` for a parameter; a plain brace is written `%7B` or `%7D`";
                return Err(Invalid::new("a brace without its other half", help).at(start..start + 1));
            };
            let name = inside.get(..end.saturating_sub(1)).unwrap_or("");
            known(name, pattern).map_err(|invalid| invalid.at(start..start + end + 1))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Param(name.to_owned()));
            rest = from.get(end + 1..).unwrap_or("");
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if let Some((at, bad)) = text.char_indices().find(|(_, c)| !c.is_ascii_graphic()) {
            let message = format!("{} cannot stand in a URL", quoted(&bad.to_string()));
            return Err(Invalid::new(message, "percent-encode it").at(at..at + bad.len_utf8()));
        }
        Ok(Self(parts))
    }

    /// What comes before the first parameter.
    pub fn beginning(&self) -> &str {
        match self.0.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }
}

fn known(name: &str, pattern: &Pattern) -> Result<(), Invalid> {
    let names: Vec<&str> = pattern.params().collect();
    if names.contains(&name) {
        return Ok(());
    }
    let bare = name.trim_end_matches('.');
    let help = match nearest(bare, names.iter().copied()) {
        Some(near) => format!("write `{{{near}}}`"),
        None if names.is_empty() => format!("`{pattern}` has no parameters"),
        None => format!("parameters of `{pattern}`: {}", names.join(", ")),
    };
    Err(Invalid::new(format!("unknown parameter {}", quoted(name)), help))
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.0 {
            match part {
                Part::Text(text) => f.write_str(text)?,
                Part::Param(name) => write!(f, "{{{name}}}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Template, Invalid> {
        Template::parse(text, &"/old/{id}/{rest...}".parse().unwrap())
    }

    #[test]
    fn text_and_parameters_alternate() {
        let template = parse("/new/{rest}?id={id}").unwrap();
        let expected = vec![
            Part::Text("/new/".into()),
            Part::Param("rest".into()),
            Part::Text("?id=".into()),
            Part::Param("id".into()),
        ];
        assert_eq!(template.0, expected);
        assert_eq!(template.to_string(), "/new/{rest}?id={id}");
    }

    #[test]
    fn stray_braces_unknown_names_and_line_breaks_are_refused() {
        for bad in ["/{nope}", "/{rest...}", "/{}", "/{id", "/id}", "/}{", "/a\r\nx: y", "/a b", "/ä"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
