//! One page without anything from elsewhere: the verdict, the network as a drawing, the findings.

use std::collections::BTreeSet;

use kiln_spec::diag::markup;

use super::Report;
use crate::HostFacts;
use crate::checks::Severity;
use crate::checks::logs::printable;
use crate::fleet::uplink_addresses;
use crate::netlink::route::Tables;

/// Hosts that are drawn; more are listed.
const DRAWN: usize = 24;
const WIDTH: usize = 250;
const HEIGHT: usize = 150;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#1b1f24}\
h1{font-size:1.4rem}article{border-left:4px solid #c62828;padding:.2rem 1rem;margin:1.2rem 0}article.warning{border-color:#c77700}\
h2{font-size:1.05rem;margin:.3rem 0}code,pre{font:13px ui-monospace,monospace;background:#f3f4f6;padding:.1rem .3rem}\
pre{padding:.6rem;overflow:auto}svg{width:100%;height:auto;background:#fafbfc;border:1px solid #d8dde3}\
svg text{font:12px ui-monospace,monospace}.host{fill:#fff;stroke:#57606a}.host.bad{stroke:#c62828;stroke-width:2.5}\
.edge{stroke:#9aa4af;fill:none}.edge.bad{stroke:#c62828;stroke-width:3}";

/// The page.
pub fn render(report: &Report<'_>) -> String {
    let text = super::text::render(report);
    let verdict = markup(text.lines().next().unwrap_or_default());
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Pod network</title><style>{STYLE}</style></head>\n<body>\n<h1>{verdict}</h1>\n{}",
        drawing(report)
    );
    for finding in &report.findings {
        let class = if finding.severity == Severity::Error { "error" } else { "warning" };
        let hosts: Vec<String> = finding.hosts.iter().map(|host| printable(host)).collect();
        let hosts = markup(&hosts.join(if finding.edge.is_some() { " → " } else { ", " }));
        out += &format!("<article class=\"{class}\"><h2>{hosts}: {}</h2>\n<pre>", markup(finding.line));
        finding.evidence.iter().for_each(|seen| out += &format!("{}\n", markup(&printable(seen))));
        out += &format!(
            "</pre><p><b>Cause</b> {}</p><p><b>Remedy</b> {}</p><p><code>{}</code></p></article>\n",
            markup(finding.cause),
            markup(finding.remedy),
            markup(finding.id)
        );
    }
    let missing = report.fleet.missing.iter().map(|missing| (printable(&missing.host), printable(&missing.why)));
    for (host, why) in missing.chain(super::unseen(report)) {
        out += &format!("<p>Not looked at: {}: {}</p>\n", markup(&host), markup(&why));
    }
    out + "</body></html>\n"
}

/// Hosts in a grid, a line for each pair that has pods to connect. Where there are too many, those that something is
/// wrong with are drawn first.
fn drawing(report: &Report<'_>) -> String {
    let named: BTreeSet<&str> = report.findings.iter().flat_map(|f| &f.hosts).map(String::as_str).collect();
    let (wrong, well): (Vec<&HostFacts>, Vec<_>) =
        report.fleet.hosts.iter().partition(|host| named.contains(host.name.as_str()));
    let drawn: BTreeSet<&str> = wrong.into_iter().chain(well).take(DRAWN).map(|host| host.name.as_str()).collect();
    let hosts: Vec<&HostFacts> =
        report.fleet.hosts.iter().filter(|host| drawn.contains(host.name.as_str())).take(DRAWN).collect();
    let places = places(hosts.len());
    let columns = places.iter().map(|(x, _)| x + WIDTH).max().unwrap_or(0) + 20;
    let rows = places.iter().map(|(_, y)| y + HEIGHT).max().unwrap_or(0) + 20;
    let mut out = format!("<svg viewBox=\"0 0 {columns} {rows}\" role=\"img\" aria-label=\"hosts and tunnels\">\n");
    let at = |name: &str| hosts.iter().position(|host| host.name == name).and_then(|index| places.get(index));
    for (index, from) in hosts.iter().enumerate() {
        for to in hosts.iter().skip(index + 1) {
            let (Some(a), Some(b)) = (at(&from.name), at(&to.name)) else { continue };
            let broken = report.findings.iter().any(|finding| {
                finding
                    .edge
                    .as_ref()
                    .is_some_and(|(x, y)| (x == &from.name && y == &to.name) || (x == &to.name && y == &from.name))
            });
            if !(broken || has_pods(from) && has_pods(to)) {
                continue;
            }
            let middle = |place: &(usize, usize)| (place.0 + WIDTH / 2, place.1 + HEIGHT / 2);
            let ((x1, y1), (x2, y2)) = (middle(a), middle(b));
            let class = if broken { "edge bad" } else { "edge" };
            out += &format!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>\n");
        }
    }
    for (host, (x, y)) in hosts.iter().zip(&places) {
        let bad = report.findings.iter().any(|finding| finding.edge.is_none() && finding.hosts.contains(&host.name));
        let class = if bad { "host bad" } else { "host" };
        out +=
            &format!("<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n");
        for (number, line) in lines(host).into_iter().enumerate() {
            let (x, y) = (x + 12, y + 22 + number * 17);
            out +=
                &format!("<text x=\"{x}\" y=\"{y}\">{}</text>\n", markup(&line.chars().take(32).collect::<String>()));
        }
    }
    let more = report.fleet.hosts.len().saturating_sub(DRAWN);
    let rest = if more > 0 { format!("<p>{more} more hosts are not drawn.</p>\n") } else { String::new() };
    format!("{out}</svg>\n{rest}")
}

/// Whether a host has a network of pods that others reach.
fn has_pods(host: &HostFacts) -> bool {
    let tunnel = |tables: &Tables| tables.links.iter().any(|link| link.vxlan.is_some() || link.name == "tunl0");
    host.cni.subnet.is_some() || host.tables().is_some_and(tunnel)
}

/// A grid, wider than high, every second row moved so that lines do not cover each other.
fn places(count: usize) -> Vec<(usize, usize)> {
    let columns = (1..=count).find(|n| n * n >= count).unwrap_or(1);
    let place = |index: usize| {
        let (row, column) = (index / columns, index % columns);
        (20 + column * (WIDTH + 90) + (row % 2) * 60, 20 + row * (HEIGHT + 80) + (column % 2) * 30)
    };
    (0..count).map(place).collect()
}

fn lines(host: &HostFacts) -> Vec<String> {
    let mut out = vec![printable(&host.name)];
    if let Some(tables) = host.tables() {
        out.extend(uplink_addresses(tables).take(2).map(|(link, network)| format!("{} {network}", link.name)));
        for link in tables.links.iter().take(2000) {
            if let Some(vxlan) = &link.vxlan {
                out.push(format!("{} vni {} udp {} mtu {}", link.name, vxlan.vni, vxlan.port, link.mtu));
            } else if link.name == "cni0" {
                let ports = tables.links.iter().filter(|port| port.master == Some(link.index)).count();
                out.push(format!("cni0 mtu {}, {ports} pods", link.mtu));
            }
        }
    }
    out.extend(
        host.cni
            .subnet
            .as_ref()
            .and_then(|subnet| subnet.subnet)
            .map(|own| format!("pods {}/{}", own.first(), own.prefix)),
    );
    out.truncate(7);
    out
}
