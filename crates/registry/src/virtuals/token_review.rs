//! TokenReview: whose token is this, and for which audiences does it count? Asked of the whole chain of authenticators.

use document::Value;
use meta::{Key, Status, UserInfo};
use store::View;

use super::self_subject_review::user_info;

/// The answer: the body with its status replaced, and the Secret whose token was looked at, for its last-used label.
///
/// # Errors
/// 400 without a token.
pub fn answer(mut body: Value, chain: &authn::Chain, view: &View) -> Result<(Value, Option<Key>), Status> {
    let spec = body.at(["spec"]);
    let token = spec["token"].str();
    if token.is_empty() {
        return Err(Status::bad_request("token is required for TokenReview in authentication"));
    }
    let audiences: Vec<String> = spec["audiences"].items().iter().map(|a| a.str().to_owned()).collect();
    // upstream writes into what the status holds already
    let error = body["status"]["error"].str().to_owned();
    let (mut status, used) = match chain.review(token, &audiences, view) {
        Ok(found) => (known(&found.user, &found.audiences), found.used_secret),
        Err(refusal) => (Value::of([("user", Value::map()), ("error", Value::from(refusal.0))]), refusal.1),
    };
    if !error.is_empty() && status["error"].is_empty() {
        status.set("error", error);
    }
    body.set("status", status);
    Ok((body, used))
}

fn known(user: &UserInfo, audiences: &[String]) -> Value {
    let mut status = Value::of([("authenticated", Value::from(true)), ("user", user_info(user))]);
    if !audiences.is_empty() {
        status.set("audiences", Value::list(audiences.iter().map(Value::from)));
    }
    status
}
