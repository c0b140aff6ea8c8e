//! `sysdig`: what probes of sysdig and Falco need of a kernel.

use super::Rule;
use crate::Test;

/// The table.
pub(super) fn rules() -> Vec<Rule> {
    let kernel = Test::KernelMin { version: "3.10".to_owned() };
    let modern = Test::KernelMin { version: "5.8".to_owned() };
    vec![
        Rule::new("os.kernel.min", "the kernel is 3.10 or newer, for the module", kernel),
        Rule::new("os.kernel.min.modern", "the kernel is 5.8 or newer, for the modern eBPF probe", modern).warning(),
        Rule::of("os.kernel.headers").error(),
        Rule::of("os.kernel.btf"),
        Rule::of("os.kernel.tracepoints").error(),
        Rule::config(&["TRACEPOINTS"]),
        Rule::config(&["HAVE_SYSCALL_TRACEPOINTS"]),
        Rule::config(&["FTRACE_SYSCALLS"]).warning(),
        Rule::config(&["BPF_SYSCALL"]).warning(),
        Rule::config(&["MODULES"]),
        Rule::tool("make").warning(),
        Rule::tool("gcc").warning(),
    ]
}
