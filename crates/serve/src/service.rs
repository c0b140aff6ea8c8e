//! One request: who asks, may they, and what is the answer.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;

use crate::auth::access::{Access as Rights, Action};
use crate::auth::{Auth, Door, Need};
use crate::body::{Mark, Outbox, Payload};
use crate::library::Library;
use crate::log::{Access, Log};
use crate::metrics::Metrics;
use crate::names::Name;
use crate::proxy::Proxy;
use crate::refusal::{Code, Refusal};
use crate::route::{self, Query, Route};
use crate::upload::Uploads;
use crate::wire::Busy;

/// `Docker-Distribution-Api-Version`, by which old clients know a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// What may be done here, whoever asks.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    /// Whether manifests and blobs can be deleted.
    pub delete: bool,
    /// Whether nothing can be pushed or deleted.
    pub read_only: bool,
    /// Headers of every answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// What each user may do; without it, what anyone may.
    pub access: Option<Arc<Rights>>,
}

/// All that answers need.
pub struct App {
    /// The images.
    pub library: Arc<Library>,
    /// Uploads in progress.
    pub uploads: Arc<Uploads>,
    /// Who may do what.
    pub auth: Auth,
    /// What can be done.
    pub policy: Policy,
    /// Other registries whose images are fetched when they are asked for.
    pub proxy: Option<Arc<Proxy>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where lines go.
    pub log: Arc<Log>,
}

/// One connection.
#[derive(Clone)]
pub struct Connection {
    /// The other side.
    pub peer: SocketAddr,
    /// Whether it is TLS.
    pub tls: bool,
    /// Where files wait that the kernel sends.
    pub outbox: Outbox,
    /// The mark that stands for them.
    pub mark: Mark,
    /// Whether the server works.
    pub busy: Busy,
}

/// A request that may be answered: it was read, and is allowed.
pub(crate) struct Asked<'a> {
    pub(crate) app: &'a Arc<App>,
    pub(crate) connection: &'a Connection,
    pub(crate) method: Method,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// Who asks, if they have a name.
    pub(crate) user: Option<String>,
}

impl Asked<'_> {
    /// The repository that a blob is to be taken over from, as it is named here.
    pub(crate) fn mounted_from(&self) -> Option<Name> {
        let from = self.query.get("from").filter(|_| self.query.get("mount").is_some())?;
        let from = Name::parse(from, self.query.get("ns")).ok()?;
        Some(match &self.app.proxy {
            Some(proxy) => proxy.adopt(from),
            None => from,
        })
    }

    /// A header as text.
    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Whether only headers are wanted.
    pub(crate) fn head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// Does blocking work for this request.
    pub(crate) async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let app = self.app.clone();
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        done.unwrap_or_else(|_| Err(Refusal::new(Code::Unknown, "the registry has a fault; its log says more")))
    }
}

/// An answer, or why there is none.
pub(crate) type Outcome = Result<Response<Payload>, Refusal>;

/// Answers a request.
pub async fn answer(
    app: Arc<App>,
    connection: Connection,
    request: Request<Incoming>,
) -> Result<Response<Payload>, Infallible> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let head = parts.method == Method::HEAD;
    let query = Query::parse(parts.uri.query());
    let agent = parts.headers.get(header::USER_AGENT).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
    let (mut label, mut user) = ("none", None);
    let outcome = match route::parse(parts.uri.path(), &query) {
        Err(refusal) => Err(refusal),
        Ok(route) => {
            label = route.label();
            let host = parts.headers.get(header::HOST).and_then(|h| h.to_str().ok());
            let host = host.map(str::to_owned).or_else(|| parts.uri.authority().map(ToString::to_string));
            let mut asked = Asked {
                app: &app,
                connection: &connection,
                method: parts.method,
                version: parts.version,
                headers: parts.headers,
                query,
                user: None,
            };
            let outcome = handle(&mut asked, route, body, host.as_deref()).await;
            user = asked.user;
            outcome
        }
    };
    let mut response = outcome.unwrap_or_else(|refusal| refused(&refusal));
    finish(&app, &mut response, head);
    let took = began.elapsed();
    app.metrics.count(label, &method, response.status().as_u16(), took);
    app.log.access(&Access {
        peer: connection.peer.to_string(),
        user,
        method: method.to_string(),
        path,
        status: response.status().as_u16(),
        bytes: response.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()),
        took,
        agent: agent.unwrap_or_default(),
    });
    Ok(response)
}

/// Headers that every answer has.
fn finish(app: &App, response: &mut Response<Payload>, head: bool) {
    use http_body::Body;
    let length = response.body().size_hint().exact().unwrap_or(0);
    let headers = response.headers_mut();
    headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CONTENT_LENGTH) {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    // Those of the configuration stand for Kiln's own; one name may have several values.
    for (name, _) in &app.policy.headers {
        headers.remove(name);
    }
    for (name, value) in &app.policy.headers {
        headers.append(name.clone(), value.clone());
    }
    let status = response.status();
    if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if head {
        *response.body_mut() = Payload::empty();
    }
}

/// The answer that says no.
pub(crate) fn refused(refusal: &Refusal) -> Response<Payload> {
    let mut response = json(refusal.status, refusal.body());
    for (name, value) in &refusal.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, body: String) -> Response<Payload> {
    let mut response = Response::new(Payload::of(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer without a body, with these headers.
pub(crate) fn bare(status: StatusCode, headers: &[(HeaderName, &str)]) -> Response<Payload> {
    let mut response = Response::new(Payload::empty());
    *response.status_mut() = status;
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name.clone(), value);
        }
    }
    response
}

/// What a request needs to be allowed.
fn needs(route: &Route, method: &Method, query: &Query) -> Vec<Need> {
    let repository = |name: &Name, actions: &'static [&'static str]| Need {
        kind: "repository",
        // Clients make scopes of the path themselves; what `ns` names is another repository than that.
        name: if name.ns.is_some() { name.full.path() } else { name.path.clone() },
        actions,
    };
    match route {
        Route::Base | Route::Health | Route::Token => Vec::new(),
        Route::Catalog => vec![Need { kind: "registry", name: "catalog".to_owned(), actions: &["*"] }],
        Route::Uploads(name) => {
            let from = query.get("from").filter(|_| query.get("mount").is_some());
            let from = from.and_then(|from| Name::parse(from, query.get("ns")).ok());
            let push = repository(name, &["pull", "push"]);
            std::iter::once(push).chain(from.map(|from| repository(&from, &["pull"]))).collect()
        }
        Route::Upload(name, _) => vec![repository(name, &["pull", "push"])],
        Route::Tags(name) | Route::Manifest(name, _) | Route::Blob(name, _) | Route::Referrers(name, _) => {
            vec![repository(
                name,
                match *method {
                    Method::GET | Method::HEAD => &["pull"],
                    Method::DELETE => &["delete"],
                    _ => &["pull", "push"],
                },
            )]
        }
    }
}

/// The methods of each resource.
fn methods(route: &Route) -> &'static [Method] {
    match route {
        Route::Base | Route::Health | Route::Catalog | Route::Tags(_) | Route::Referrers(..) => {
            &[Method::GET, Method::HEAD]
        }
        Route::Token => &[Method::GET, Method::POST],
        Route::Manifest(..) => &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
        Route::Blob(..) => &[Method::GET, Method::HEAD, Method::DELETE],
        Route::Uploads(_) => &[Method::POST],
        Route::Upload(..) => &[Method::GET, Method::HEAD, Method::PATCH, Method::PUT, Method::DELETE],
    }
}

async fn handle(asked: &mut Asked<'_>, route: Route, body: Incoming, host: Option<&str>) -> Outcome {
    let working = asked.connection.busy.work();
    let method = asked.method.clone();
    let known = methods(&route);
    if !known.contains(&method) {
        let allow: Vec<&str> = known.iter().map(Method::as_str).collect();
        return Err(Refusal::new(Code::Unsupported, format!("{method} means nothing here"))
            .header(header::ALLOW, &allow.join(", ")));
    }
    match route {
        Route::Health => return Ok(json(StatusCode::OK, "{}".to_owned())),
        Route::Token => return crate::handlers::token(asked, body).await,
        _ => {}
    }
    let door = Door { scheme: if asked.connection.tls { "https" } else { "http" }, host };
    let needs = needs(&route, &method, &asked.query);
    asked.user = asked.app.auth.check(&asked.headers, &needs, &door).await?;
    let asked = &*asked;
    let route = match &asked.app.proxy {
        Some(proxy) => route.rename(|name| proxy.adopt(name)),
        None => route,
    };
    let route = entitled(asked, route, &needs, &door).await?;
    allowed(asked, &route)?;
    match route {
        Route::Base | Route::Health | Route::Token => Ok(json(StatusCode::OK, "{}".to_owned())),
        Route::Catalog => crate::handlers::catalog(asked).await,
        Route::Tags(name) => crate::handlers::tags(asked, name).await,
        Route::Referrers(name, digest) => crate::handlers::referrers(asked, name, digest).await,
        Route::Manifest(name, target) => match method {
            Method::PUT => {
                drop(working);
                crate::handlers::put_manifest(asked, name, target, body).await
            }
            Method::DELETE => crate::handlers::delete_manifest(asked, name, target).await,
            _ => crate::handlers::manifest(asked, name, target).await,
        },
        Route::Blob(name, digest) => match method {
            Method::DELETE => crate::handlers::delete_blob(asked, name, digest).await,
            _ => crate::handlers::blob(asked, name, digest).await,
        },
        Route::Uploads(name) => {
            drop(working);
            crate::sending::begin(asked, name, body).await
        }
        Route::Upload(name, id) => match method {
            Method::PATCH | Method::PUT => {
                drop(working);
                crate::sending::go_on(asked, name, id, body).await
            }
            Method::DELETE => crate::sending::cancel(asked, name, id).await,
            _ => crate::sending::status(asked, name, id).await,
        },
    }
}

/// Refuses what who asks has no right to. What may be read by a short name is then asked for by its whole one: only that
/// was looked at.
async fn entitled(asked: &Asked<'_>, route: Route, needs: &[Need], door: &Door<'_>) -> Result<Route, Refusal> {
    let (Some(access), Some(name)) = (asked.app.policy.access.clone(), route.name()) else { return Ok(route) };
    let action = match asked.method {
        Method::GET | Method::HEAD if !matches!(route, Route::Upload(..)) => Action::Pull,
        Method::DELETE if !matches!(route, Route::Upload(..)) => Action::Delete,
        _ => Action::Push,
    };
    let mut wanted = vec![(name.clone(), action)];
    if let (Route::Uploads(_), Some(from)) = (&route, asked.mounted_from()) {
        wanted.push((from, Action::Pull));
    }
    let user = asked.user.clone();
    let may = asked
        .block(move |app| {
            let mut whole = None;
            for (name, action) in &wanted {
                // What a short name leads to is asked for, and what would be written if it led nowhere.
                let found = app.library.resolve(name)?;
                let is_new = (*action != Action::Pull).then_some(&name.full);
                let mut all = found.iter().chain(is_new.or(found.is_none().then_some(&name.full)));
                if !all.all(|full| access.allows(user.as_deref(), full, *action)) {
                    return Ok(None);
                }
                whole = whole.or(Some(found.unwrap_or_else(|| name.full.clone())));
            }
            Ok(whole)
        })
        .await?;
    match (may, &asked.user) {
        (Some(full), _) if action == Action::Pull => Ok(route.rename(|name| Name { full, explicit: true, ..name })),
        (Some(_), _) => Ok(route),
        (None, Some(user)) => Err(Refusal::new(Code::Denied, format!("{user} has no right to this"))),
        (None, None) => Err(asked.app.auth.unauthorized(needs, door)),
    }
}

/// Refuses what nobody may do here.
fn allowed(asked: &Asked<'_>, route: &Route) -> Result<(), Refusal> {
    let policy = &asked.app.policy;
    let reads = matches!(asked.method, Method::GET | Method::HEAD);
    if policy.read_only && !reads {
        return Err(Refusal::new(Code::Unsupported, "the registry can only be read"));
    }
    let deletes = asked.method == Method::DELETE && !matches!(route, Route::Upload(..));
    if deletes && !policy.delete {
        let text = "deleting is not enabled (storage.delete.enabled, or --allow-delete)";
        return Err(Refusal::new(Code::Unsupported, text));
    }
    let upstream = route.name().zip(asked.app.proxy.as_ref()).is_some_and(|(name, proxy)| proxy.covers(name));
    if upstream && !reads {
        return Err(Refusal::new(Code::Unsupported, "the repository is another registry's: push there"));
    }
    Ok(())
}

/// How long a client may take for one piece of a body before the connection's own patience is asked.
pub(crate) const PIECE: Duration = Duration::from_secs(120);
