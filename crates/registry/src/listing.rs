//! Lists a registry keeps, page by page: tags. And asking whether a login works.

use kiln_oci::Reference;
use reqwest::Method;
use serde::Deserialize;
use url::Url;

use crate::auth::challenge::Scope;
use crate::call::{Call, Core, Reply, Target};
use crate::credentials::Credential;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;

/// No page is read beyond this many bytes.
const MAX_PAGE: u64 = 8 << 20;
pub(crate) const MAX_PAGES: usize = 1000;
const MAX_TAGS: usize = 1_000_000;

#[derive(Deserialize)]
struct TagPage {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

impl Core {
    /// All tags of a repository, in the registry's order.
    pub(crate) async fn tags(&self, reference: &Reference) -> Result<Vec<String>, RegistryError> {
        let what = format!("the tags of {}", reference.repository);
        let endpoint = self.endpoint(&reference.registry)?;
        let scopes = [Scope::repository(&reference.repository, &["pull"])];
        let mut target = Target::Path(format!("{}/tags/list?n=1000", reference.repository));
        let mut tags: Vec<String> = Vec::new();
        for _ in 0..MAX_PAGES {
            let call = Call::new(Method::GET, target.clone(), &reference.repository, &scopes, &what);
            let (page, next) = self.page::<TagPage>(&endpoint, &call).await?;
            // What is no tag cannot be asked for, and would only be shown.
            tags.extend(page.tags.unwrap_or_default().into_iter().filter(|t| kiln_oci::reference::valid_tag(t)));
            match next {
                Some(url) if tags.len() <= MAX_TAGS => target = Target::Address(url),
                Some(_) => break,
                None => return Ok(tags),
            }
        }
        Err(RegistryError::TooLarge { host: endpoint.host.clone(), what, limit: MAX_TAGS as u64 })
    }

    /// Whether a registry accepts a credential.
    pub(crate) async fn check_login(&self, host: &str, credential: &Credential) -> Result<(), RegistryError> {
        // An endpoint of its own, so that nothing cached answers for the credential.
        let endpoint = Endpoint::registry(&self.config, host)?;
        let what = "a login";
        let mut call = Call::new(Method::GET, Target::Path(String::new()), "", &[], what);
        call.credential = Some(credential);
        self.call(&endpoint, &call).await?.expect(&[200], &endpoint, what).await.map(drop)
    }

    /// One page of a list, and where the next is.
    pub(crate) async fn page<T: for<'de> Deserialize<'de>>(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
    ) -> Result<(T, Option<Url>), RegistryError> {
        let mut retry = self.retry(endpoint);
        loop {
            let failure = match self.attempt(endpoint, call).await {
                Ok(reply) => {
                    let reply = reply.expect(&[200], endpoint, call.what).await?;
                    let next = next_page(&reply, endpoint, call.what)?;
                    match reply.body(self, endpoint, call.what, MAX_PAGE).await {
                        Ok(body) => return parse(&body, endpoint, call.what).map(|page| (page, next)),
                        Err(failure) => failure,
                    }
                }
                Err(failure) => failure,
            };
            retry.pause(failure).await?;
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(body: &[u8], endpoint: &Endpoint, what: &str) -> Result<T, RegistryError> {
    serde_json::from_slice(body).map_err(|_| RegistryError::Protocol {
        host: endpoint.host.clone(),
        what: what.to_owned(),
        why: "it is not the JSON expected".to_owned(),
    })
}

/// The address in `Link: <…>; rel="next"`, which must be on the same registry.
fn next_page(reply: &Reply, endpoint: &Endpoint, what: &str) -> Result<Option<Url>, RegistryError> {
    let Some(link) = reply.header("link").and_then(next_link) else { return Ok(None) };
    let protocol =
        |why: &str| RegistryError::Protocol { host: endpoint.host.clone(), what: what.to_owned(), why: why.to_owned() };
    let next = reply.response.url().join(link).map_err(|_| protocol("the next page is not at a URL"))?;
    if next.origin() != reply.base.origin() {
        return Err(protocol("the next page is on another host"));
    }
    if next == *reply.response.url() {
        return Err(protocol("a page is its own next page"));
    }
    Ok(Some(next))
}

/// The address of the page after this one, by its `Link` header.
pub(crate) fn next_link(header: &str) -> Option<&str> {
    header.split(',').find_map(|part| {
        let (address, parameters) = part.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        next.then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found() {
        assert_eq!(next_link(r#"</v2/a/tags/list?last=x&n=2>; rel="next""#), Some("/v2/a/tags/list?last=x&n=2"));
        assert_eq!(next_link(r#"</p>; rel="prev", </n>; rel=next"#), Some("/n"));
        for none in ["", "<", "</x>", r#"</x>; rel="prev""#, r#"/x; rel="next""#] {
            assert_eq!(next_link(none), None, "{none}");
        }
    }
}
