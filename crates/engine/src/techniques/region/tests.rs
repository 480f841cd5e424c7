//! Where requests belong.

use super::policy::{Place, place};
use http::Method;

#[test]
fn what_changes_something_goes_to_the_primary_and_what_reads_goes_anywhere_unless_its_caller_wrote() {
    assert_eq!(place(&Method::POST, None, false), Place::Primary);
    assert_eq!(place(&Method::DELETE, None, true), Place::Primary);
    assert_eq!(place(&Method::GET, None, false), Place::Anywhere);
    assert_eq!(place(&Method::GET, None, true), Place::PrimaryForWriter);
    // A search by POST; a report that only the primary has.
    assert_eq!(place(&Method::POST, Some(false), false), Place::Anywhere);
    assert_eq!(place(&Method::GET, Some(true), false), Place::Primary);
}
