//! For CI systems: one case for each check, failed when it found something; one for each host that was not looked at.

use kiln_spec::diag::markup;

use super::Report;
use crate::checks;

/// The document.
pub fn render(report: &Report<'_>) -> String {
    let (mut cases, mut failures, mut errors, mut count) = (String::new(), 0, 0, 0);
    for row in checks::rows() {
        count += 1;
        let found: Vec<_> = report.findings.iter().filter(|finding| finding.id == row.id).collect();
        cases += &format!("  <testcase classname=\"kiln.doctor\" name=\"{}\">", markup(row.id));
        if !found.is_empty() {
            failures += 1;
            let said = |f: &&crate::Finding| format!("{}: {}", f.hosts.join(", "), f.evidence.join("; "));
            let said: Vec<String> = found.iter().map(said).collect();
            let text = markup(&format!("{}\nremedy: {}", said.join("\n"), row.remedy));
            cases += &format!("<failure message=\"{}\">{text}</failure>", markup(row.line));
        }
        cases += "</testcase>\n";
    }
    let unread = report.fleet.hosts.iter().flat_map(|host| {
        host.unread.iter().map(|unread| (host.name.clone(), format!("{}: {}", unread.what, unread.why)))
    });
    let missing = report.fleet.missing.iter().map(|missing| (missing.host.clone(), missing.why.clone()));
    for (host, why) in missing.chain(unread) {
        (count, errors) = (count + 1, errors + 1);
        let name = markup(&host);
        cases += &format!(
            "  <testcase classname=\"kiln.doctor.hosts\" name=\"{name}\"><error message=\"{}\"/></testcase>\n",
            markup(&why)
        );
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"kiln doctor\" tests=\"{count}\" failures=\"{failures}\" errors=\"{errors}\">\n{cases}</testsuite>\n"
    )
}
