//! The metadata server of a machine that has a role; it wants a token of its own first.

use serde_json::json;

use super::http::Answer;
use super::users::{ROLE, TEMPORARY};
use crate::http::Request;

const TOKEN: &str = "metadata-token";

pub(super) fn answer(request: &Request) -> Answer {
    let say = |status: u16, text: &str| Answer { status, body: text.as_bytes().to_vec(), ..Answer::default() };
    let path = request.path.trim_start_matches("/latest/");
    if request.method == "PUT" && path == "api/token" {
        return match request.header("x-aliyun-ecs-metadata-token-ttl-seconds").parse::<u64>() {
            Ok(1..=21600) => say(200, TOKEN),
            _ => say(400, ""),
        };
    }
    if request.header("x-aliyun-ecs-metadata-token") != TOKEN {
        return say(403, "");
    }
    match path.strip_prefix("meta-data/ram/security-credentials/") {
        Some("") => say(200, ROLE),
        Some(ROLE) => {
            let (id, secret, token) = TEMPORARY;
            let keys = json!({"AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token,
                "Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z", "Code": "Success"});
            say(200, &keys.to_string())
        }
        _ => say(404, ""),
    }
}
