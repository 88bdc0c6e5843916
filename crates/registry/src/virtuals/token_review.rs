//! TokenReview: whose token is this, and for which audiences does it count? Asked of the whole chain of authenticators.

use document::Value;
use meta::{Status, UserInfo};
use store::View;

use super::self_subject_review::user_info;

/// The answer: the body with its status replaced.
///
/// # Errors
/// 400 without a token.
pub fn answer(mut body: Value, chain: &authn::Chain, view: &View) -> Result<Value, Status> {
    let spec = body.at(["spec"]);
    let token = spec["token"].str();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = spec["audiences"].items().iter().map(|a| a.str().to_owned()).collect();
    let status = match chain.review(token, &audiences, view) {
        Ok(found) => known(&found.user, &found.audiences),
        Err(refusal) => Value::of([("user", Value::map()), ("error", Value::from(refusal.0))]),
    };
    body.set("status", status);
    Ok(body)
}

fn known(user: &UserInfo, audiences: &[String]) -> Value {
    let mut status = Value::of([("authenticated", Value::from(true)), ("user", user_info(user))]);
    if !audiences.is_empty() {
        status.set("audiences", Value::list(audiences.iter().map(Value::from)));
    }
    status
}
