//! Calls of ECS, STS and RAM, by their names.

use std::sync::Arc;

use serde_json::{Value, json};

use super::http::Answer;
use super::state::{KINDS, Pairs, REGIONS, State};
use super::users::{ROLE, TEMPORARY};
use super::{Boot, Call, Faults, Shared, images, instances, lock, networks, sign};
use crate::http::Request;

/// A call with its parameters.
pub(super) struct Ask<'a> {
    pub(super) action: String,
    parameters: &'a [(String, String)],
    pub(super) region: String,
    pub(super) faults: &'a Faults,
}

/// What a call comes to.
#[derive(Default)]
pub(super) struct Done {
    pub(super) value: Value,
    pub(super) resource: &'static str,
    pub(super) id: String,
    pub(super) boot: Option<Boot>,
}

/// Status, code, message.
pub(super) type Refused = (u16, String, String);

pub(super) fn refused<T>(status: u16, code: &str, message: &str) -> Result<T, Refused> {
    Err((status, code.to_owned(), message.to_owned()))
}

impl Ask<'_> {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value).filter(|v| !v.is_empty())
    }

    pub(super) fn text(&self, name: &str) -> String {
        self.get(name).unwrap_or_default().to_owned()
    }

    pub(super) fn need(&self, name: &str) -> Result<String, Refused> {
        match self.get(name) {
            Some(value) => Ok(value.to_owned()),
            None => {
                refused(400, "MissingParameter", &format!("The input parameter {name} that is mandatory is missing"))
            }
        }
    }

    /// `NAME.1`, `NAME.2`, …
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        (1..).map_while(|n| self.get(&format!("{name}.{n}")).map(str::to_owned)).collect()
    }

    /// `["a","b"]`.
    pub(super) fn array(&self, name: &str) -> Option<Vec<String>> {
        serde_json::from_str(self.get(name)?).ok()
    }

    pub(super) fn tags(&self) -> Pairs {
        let one = |n: usize| {
            let key = self.get(&format!("Tag.{n}.Key"))?.to_owned();
            Some((key, self.text(&format!("Tag.{n}.Value"))))
        };
        (1..).map_while(one).collect()
    }

    /// Whether something with these tags is asked for.
    pub(super) fn wants(&self, tags: &[(String, String)]) -> bool {
        self.tags().iter().all(|(key, value)| tags.iter().any(|(k, v)| k == key && (value.is_empty() || v == value)))
    }

    /// A page of a list.
    pub(super) fn page(&self, outer: &str, inner: &str, items: Vec<Value>) -> Done {
        let number = |name: &str, usual: usize| self.get(name).and_then(|text| text.parse().ok()).unwrap_or(usual);
        let (size, page): (usize, usize) = (number("PageSize", 10), number("PageNumber", 1));
        let total = items.len();
        let items: Vec<Value> = items.into_iter().skip(size * page.saturating_sub(1)).take(size).collect();
        let value = json!({outer: {inner: items}, "TotalCount": total, "PageNumber": page, "PageSize": size});
        Done { value, resource: "list", ..Done::default() }
    }
}

pub(super) fn tags_value(tags: &[(String, String)]) -> Value {
    let all: Vec<Value> = tags.iter().map(|(key, value)| json!({"TagKey": key, "TagValue": value})).collect();
    json!({"Tag": all})
}

pub(super) fn answer(request: &Request, number: usize, shared: &Arc<Shared>) -> Answer {
    let header = request.header("x-acs-action");
    let action = if header.is_empty() { request.parameter("Action").unwrap_or_default() } else { header }.to_owned();
    let faults = lock(&shared.faults).clone();
    let parameters: Pairs = request.query.iter().filter(|(name, _)| !is_of_signature(name)).cloned().collect();
    let region = request.parameter("RegionId").unwrap_or_default().to_owned();
    let ask = Ask { action: action.clone(), parameters: &parameters, region, faults: &faults };
    let result = decide(&ask, request, number, shared);
    let id = format!("DOUBLE-{number:04}");
    let (status, mut value, resource, about, code, boot) = match result {
        Ok(done) => (200, done.value, done.resource, done.id, None, done.boot),
        Err((status, code, message)) => {
            let value = json!({"Code": code, "Message": message, "HostId": "double", "Recommend": ""});
            (status, value, "", String::new(), Some(code), None)
        }
    };
    let hook = lock(&shared.boot).clone();
    if let (Some(boot), Some(hook)) = (boot, hook) {
        hook(&boot);
    }
    if let Some(object) = value.as_object_mut() {
        object.insert("RequestId".to_owned(), json!(id));
    }
    let call = Call { number, action, resource: resource.to_owned(), id: about, code, parameters };
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Answer { status, headers, body: value.to_string().into_bytes(), call: Some(call) }
}

fn is_of_signature(name: &str) -> bool {
    let names = ["AccessKeyId", "Action", "Format", "SecurityToken", "Timestamp", "Version"];
    name.starts_with("Signature") || names.contains(&name)
}

/// What is true of every call, and then the call itself.
fn decide(ask: &Ask<'_>, request: &Request, number: usize, shared: &Shared) -> Result<Done, Refused> {
    if let Err((status, code)) = sign::rpc(request) {
        return refused(status, code, "The request is not proved");
    }
    let mut state = lock(&shared.state);
    let nonce = request.parameter("SignatureNonce").unwrap_or(request.header("x-acs-signature-nonce"));
    if !state.nonces.insert(nonce.to_owned()) {
        return refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.");
    }
    if ask.faults.throttled.contains(&number) {
        return refused(400, "Throttling.User", "Request was denied due to user flow control.");
    }
    {
        let mut faults = lock(&shared.faults);
        if let Some(fault) = faults.refuse.iter_mut().find(|fault| fault.action == ask.action && fault.times > 0) {
            fault.times -= 1;
            return refused(fault.status, &fault.code.clone(), "The double was told to refuse this.");
        }
    }
    let of_one = !matches!(&*ask.action, "AssumeRole" | "CreateRole" | "AttachPolicyToRole" | "DescribeRegions");
    if of_one && !REGIONS.contains(&&*ask.region) {
        return refused(404, "InvalidRegionId.NotFound", "The specified RegionId does not exist.");
    }
    // The same call with the same token is the same thing.
    let token = ask.get("ClientToken").map(|token| (ask.action.clone(), token.to_owned()));
    if let Some((value, id)) = token.as_ref().and_then(|token| state.tokens.get(token)) {
        return Ok(Done { value: value.clone(), resource: "again", id: id.clone(), boot: None });
    }
    let done = act(ask, &mut state)?;
    if let Some(token) = token {
        state.tokens.insert(token, (done.value.clone(), done.id.clone()));
    }
    Ok(done)
}

fn act(ask: &Ask<'_>, state: &mut State) -> Result<Done, Refused> {
    match &*ask.action {
        "DescribeRegions" => {
            let all = REGIONS.iter().map(|id| json!({"RegionId": id, "LocalName": id, "RegionEndpoint": ""})).collect();
            Ok(Done { value: json!({"Regions": {"Region": Value::Array(all)}}), resource: "list", ..Done::default() })
        }
        "DescribeZones" => Ok(zones(ask)),
        "DescribeAccountAttributes" => Ok(attributes(ask)),
        "AssumeRole" => assume(ask),
        "CreateRole" | "AttachPolicyToRole" => {
            state.import_role |= ask.action == "AttachPolicyToRole";
            Ok(Done { value: json!({}), resource: "role", id: ask.text("RoleName"), boot: None })
        }
        _ => match networks::act(ask, state).or_else(|| instances::act(ask, state)).or_else(|| images::act(ask, state))
        {
            Some(result) => result,
            None => refused(400, "InvalidAction.NotFound", "Specified api is not found."),
        },
    }
}

fn zones(ask: &Ask<'_>) -> Done {
    let zone = |letter: &str, kinds: &[&str]| {
        json!({"ZoneId": format!("{}-{letter}", ask.region), "LocalName": letter,
            "AvailableInstanceTypes": {"InstanceTypes": kinds},
            "AvailableDiskCategories": {"DiskCategories": ["cloud_essd", "cloud_efficiency"]},
            "AvailableResourceCreation": {"ResourceTypes": ["VSwitch", "Instance", "Disk", "IoOptimized"]}})
    };
    let all = vec![zone("a", &["ecs.t1.small"]), zone("b", &KINDS)];
    Done { value: json!({"Zones": {"Zone": all}}), resource: "list", ..Done::default() }
}

fn attributes(ask: &Ask<'_>) -> Done {
    let value = |name: &str| match name {
        "max-postpaid-instance-vcpu-count" => 100,
        "used-postpaid-instance-vcpu-count" => ask.faults.processors,
        _ => 0,
    };
    let item = |name: String| {
        let value = value(&name).to_string();
        json!({"AttributeName": name, "AttributeValues": {"ValueItem": [{"Value": value}]}})
    };
    let all: Vec<Value> = ask.list("AttributeName").into_iter().map(item).collect();
    Done { value: json!({"AccountAttributeItems": {"AccountAttributeItem": all}}), resource: "list", ..Done::default() }
}

fn assume(ask: &Ask<'_>) -> Result<Done, Refused> {
    if ask.need("RoleArn")? != format!("acs:ram::1:role/{ROLE}") {
        return refused(404, "EntityNotExist.Role", "The role not exists.");
    }
    ask.need("RoleSessionName")?;
    let (id, secret, token) = TEMPORARY;
    let keys = json!({"AccessKeyId": id, "AccessKeySecret": secret, "SecurityToken": token, "Expiration": "2099-01-01T00:00:00Z"});
    Ok(Done { value: json!({"Credentials": keys}), resource: "role", id: ROLE.to_owned(), boot: None })
}
