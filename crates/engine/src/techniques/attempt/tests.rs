//! What is tried again, and how often.

use super::policy::{Budget, Verdict, after};
use crate::error::Error;

#[test]
fn what_reached_no_application_is_tried_once_more_whatever_the_method() {
    for error in [Error::ConnectRefused, Error::ConnectTimeout, Error::RefusedStream, Error::TlsHandshake] {
        assert_eq!(after(error, 1, false), Verdict::TryAgain, "{error:?}");
        assert_eq!(after(error, 2, true), Verdict::GiveUp, "{error:?}");
    }
}

#[test]
fn what_may_have_been_acted_on_is_only_repeated_when_that_does_no_harm() {
    assert_eq!(after(Error::ResetEarly, 1, true), Verdict::TryAgainWithinBudget);
    assert_eq!(after(Error::ResetEarly, 1, false), Verdict::GiveUp);
    for error in [Error::AnswerTimeout, Error::Truncated, Error::CallerGone, Error::Deadline] {
        assert_eq!(after(error, 1, true), Verdict::GiveUp, "{error:?}");
    }
}

#[test]
fn an_outage_is_multiplied_by_at_most_a_tenth_and_three_a_second() {
    let mut budget = Budget::new(0);
    let mut retries = 0;
    for request in 0..10_000u64 {
        budget.earn();
        retries += u32::from(budget.spend(request * 1_000_000));
    }
    // 10,000 requests in 10 s: a tenth, the floor of 3/s, and the second that the bucket began with.
    assert!((1_000..=1_034).contains(&retries), "{retries}");
}
