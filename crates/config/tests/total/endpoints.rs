//! A file of endpoints, whatever is in it, gives a bounded list without doubles that reads back the same, or problems that
//! point into it.

use unlag_config::endpoints;

/// As many endpoints as an upstream can have.
const ENDPOINTS_MAX: usize = 1_000;

/// Panics when the law does not hold for `text`.
pub(crate) fn holds(text: &str) {
    let listed = match endpoints(text, "endpoints") {
        Ok(listed) => listed,
        Err(problems) => {
            assert!(!problems.to_string().is_empty(), "a refusal says why: {text:?}");
            let lines = text.split('\n').count();
            assert!(problems.errors() > 0, "{text:?}");
            assert!(
                problems.0.iter().all(|problem| (1..=lines).contains(&problem.line)),
                "{text:?}: {problems}"
            );
            return;
        }
    };
    assert!(listed.len() <= ENDPOINTS_MAX);
    let mut again = String::new();
    for (number, endpoint) in listed.iter().enumerate() {
        assert!((1..=1_000).contains(&endpoint.weight), "{text:?}");
        let earlier = listed.get(..number).unwrap_or_default();
        assert!(earlier.iter().all(|other| other.url != endpoint.url), "twice: {text:?}");
        again.push_str(&format!("{} weight={}", endpoint.url, endpoint.weight));
        if let Some(region) = &endpoint.region {
            again.push_str(&format!(" region={region}"));
        }
        if let Some(zone) = &endpoint.zone {
            again.push_str(&format!(" zone={zone}"));
        }
        again.push('\n');
    }
    assert_eq!(endpoints(&again, "again").ok(), Some(listed), "{text:?} was written as {again:?}");
}
