//! Listings, a page at a time.

use std::ops::ControlFlow;

use crate::call::Core;
use crate::client::Entry;
use crate::error::ObjectError;
use crate::location::Location;

/// No page, nor any other document of a store, is longer: 1000 keys of 1024 bytes, each encoded, and what is around them.
pub(crate) const MAX_PAGE: usize = 16 << 20;
/// So many pages without any object may come in a row; Azure sends some.
const MAX_EMPTY: u32 = 1000;

/// Some of the objects, and how to ask for more.
pub(crate) struct Page {
    pub entries: Vec<Entry>,
    pub next: Option<String>,
}

impl Core {
    /// Shows the objects whose keys begin with that of `prefix`, until the visitor has enough.
    pub(crate) async fn list(
        &self,
        prefix: &Location,
        visit: &mut dyn FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), ObjectError> {
        let mut token: Option<String> = None;
        let mut empty = 0;
        loop {
            let page = match prefix {
                Location::S3 { .. } => self.s3_page(prefix, token.as_deref()).await?,
                Location::Gcs { .. } => self.gcs_page(prefix, token.as_deref()).await?,
                Location::Azure { .. } => self.azure_page(prefix, token.as_deref()).await?,
            };
            empty = if page.entries.is_empty() { empty + 1 } else { 0 };
            for entry in page.entries {
                if visit(entry).is_break() {
                    return Ok(());
                }
            }
            let Some(next) = page.next.filter(|next| !next.is_empty()) else { return Ok(()) };
            if token.as_ref() == Some(&next) || empty > MAX_EMPTY {
                return Err(self.wrong(prefix, "its listing has no end"));
            }
            token = Some(next);
        }
    }
}
