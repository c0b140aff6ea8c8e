//! HCL2: files, expressions, and the same in JSON.

use kiln_hcl::json_syntax::{self, ATTRIBUTES};
use kiln_hcl::{format, parser};

/// Parses it; what is formatted stays as it is when it is formatted again, and means what it meant.
pub fn run(bytes: &[u8]) {
    let text = super::text(bytes);
    let (body, faults) = parser::parse(&text);
    for fault in &faults {
        assert!(fault.span.start <= fault.span.end && fault.span.end <= text.len(), "{fault:?}");
    }
    let _ = parser::parse_expression(&text);
    let _ = parser::parse_template(&text);
    let _ = json_syntax::parse(&text, &ATTRIBUTES);
    if let Ok(formatted) = format::format(&text) {
        assert_eq!(format::format(&formatted).as_deref(), Ok(&*formatted), "formatting ends");
        if faults.is_empty() {
            let (again, faults) = parser::parse(&formatted);
            assert!(faults.is_empty(), "formatting made mistakes: {faults:?}");
            assert_eq!(again.attributes.len(), body.attributes.len(), "formatting lost something");
            assert_eq!(again.blocks.len(), body.blocks.len(), "formatting lost something");
        }
    }
}
