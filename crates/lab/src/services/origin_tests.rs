//! What a path names, and what is said of it.

use std::io::{Read, Write};

use super::*;

fn resource(policy: Policy) -> Resource {
    let delay = Duration::from_millis(5);
    Resource { route: "r".into(), policy, delay, bytes: 12, key: "k/7?x".into() }
}

#[test]
fn a_path_says_all_about_its_answer() {
    for policy in Policy::ALL {
        let path = resource(policy).path();
        assert_eq!(Resource::read(&path), Some(resource(policy)), "{path}");
    }
    for nothing in ["", "/", "/a/fresh/0/1", "/a/fresh/0/1/", "/a/old/0/1/k", "/a/fresh/x/1/k"] {
        assert_eq!(Resource::read(nothing), None, "{nothing}");
    }
    for too_much in ["/a/fresh/10001/1/k", "/a/fresh/0/1048577/k"] {
        assert_eq!(Resource::read(too_much), None, "{too_much}");
    }
    assert_ne!(Resource::content("/a", 100), Resource::content("/b", 100));
}

/// The head of the answer to a GET with these fields.
fn head(origin: &Origin, path: &str, fields: &str) -> String {
    let mut stream = std::net::TcpStream::connect(origin.address).expect("connects");
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n").as_bytes())
        .expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("reads");
    answer.split("\r\n\r\n").next().unwrap_or("").to_owned()
}

#[test]
fn an_answer_declares_its_policy_and_is_validated_by_its_tag() {
    let origin = Origin::start().expect("starts");
    for policy in Policy::ALL {
        let head = head(&origin, &resource(policy).path(), "");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        let declared = head.lines().find_map(|line| line.strip_prefix("cache-control: "));
        assert_eq!(declared, policy.cache_control(), "{head}");
        assert_eq!(head.contains("etag: \"1\""), policy.has_validator(), "{head}");
    }
    let path = resource(Policy::Short).path();
    assert!(head(&origin, &path, "if-none-match: \"1\"\r\n").starts_with("HTTP/1.1 304"));
    assert!(head(&origin, &path, "if-none-match: \"2\"\r\n").starts_with("HTTP/1.1 200"));
    let silent = resource(Policy::Silent).path();
    assert!(head(&origin, &silent, "if-none-match: \"1\"\r\n").starts_with("HTTP/1.1 200"));
    assert!(head(&origin, "/nothing", "").starts_with("HTTP/1.1 404"));
}
