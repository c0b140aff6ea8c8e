//! Packer's templates: a first byte `{` makes it one in JSON, else it is HCL2.

use std::sync::Arc;

use kiln_packer::fault::Fault;
use kiln_packer::hcl2::{self, Files};
use kiln_packer::json;
use kiln_packer::world::{Given, World};
use kiln_spec::source::Source;

/// A world with nothing in it.
struct Empty;

impl World for Empty {
    fn env(&self, name: &str) -> Option<String> {
        (name == "HOME").then(|| "/root".to_owned())
    }

    fn now(&self) -> i64 {
        1_700_000_000
    }

    fn random(&self) -> u128 {
        7
    }

    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Err(format!("there is no `{path}`"))
    }

    fn working_directory(&self) -> String {
        "/work".to_owned()
    }
}

/// Loads and inspects it; mistakes have their places in the text.
pub fn run(bytes: &[u8]) {
    let text = super::text(bytes);
    let given = Given { packer_version: "1.6.6".to_owned(), ..Given::default() };
    if text.starts_with('{') {
        let source = Arc::new(Source { name: "t.json".to_owned(), text });
        check(&json::load(&source, &given, &Empty).err().unwrap_or_default());
        check(&json::inspect(&source).err().unwrap_or_default());
    } else {
        let source = Arc::new(Source { name: "t.pkr.hcl".to_owned(), text });
        let files = Files { templates: vec![source], variables: Vec::new(), directory: "/work".to_owned() };
        let world: hcl2::SharedWorld = Arc::new(Empty);
        check(&hcl2::load(&files, &given, &world).err().unwrap_or_default());
        check(&hcl2::inspect(&files, &given, &world).err().unwrap_or_default());
    }
}

fn check(faults: &[Fault]) {
    for fault in faults {
        let span = fault.diagnostic.span;
        assert!(span.start <= span.end && span.end <= fault.source.text.len(), "{:?}", fault.diagnostic);
    }
}
