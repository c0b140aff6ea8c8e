//! Wherever a build in a cloud is cut, nothing is left: at each of its calls the connection is cut, before and after the
//! cloud acts, or kiln is interrupted or killed; afterwards, and after `kiln node gc`, the cloud has nothing but the image
//! that a successful build made.
//!
//! By default every call meets two of the six faults, chosen by a seed; `KILN_CLOUD_MATRIX=all` takes all.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kiln_testkit::TestContext;
use rustix::process::Signal;

use crate::tap::{Fault, Plan, tap};

/// Chosen by hand; another one takes other faults.
const SEED: usize = 2;
/// Longer than any run: what hangs is killed, and the test fails.
const LIMIT: Duration = Duration::from_secs(100);

const FAULTS: [Fault; 6] = [
    Fault::Unheard,
    Fault::Unanswered,
    Fault::Signal(Signal::TERM),
    Fault::SignalAfter(Signal::TERM),
    Fault::Signal(Signal::KILL),
    Fault::SignalAfter(Signal::KILL),
];

/// A cloud on loopback, and a kiln that builds in it.
pub struct Scene {
    /// Where kiln runs, with credentials in its environment.
    pub t: TestContext,
    /// Arguments of the command.
    pub args: Vec<String>,
    /// What is there that a build made: what should not be, and finished images.
    pub left: Box<dyn Fn() -> (Vec<String>, Vec<String>) + Send>,
    /// Keeps the double and the server of SSH.
    pub _keep: Box<dyn std::any::Any + Send>,
}

/// Takes `HOST:PORT` of a service, and gives that of a wire to it.
pub type Wire<'a> = dyn Fn(&str) -> String + 'a;

/// Makes a scene whose calls go through wires.
pub type Raise<'a> = dyn Fn(&Wire<'_>) -> Scene + Sync + 'a;

/// What one run did.
pub struct Run {
    pub code: Option<i32>,
    /// Whether its fault came.
    met: bool,
    pub calls: Vec<String>,
    pub said: String,
    pub scene: Scene,
}

/// Runs it, with a fault at the call `at`.
pub fn run(raise: &Raise<'_>, at: usize, fault: Fault) -> Run {
    let plan = Plan::new(at, fault);
    let scene = raise(&|upstream| tap(upstream, &plan));
    let args: Vec<&str> = scene.args.iter().map(String::as_str).collect();
    let said = scene.t.out("said");
    let file = std::fs::File::create(&said).unwrap();
    let mut command = scene.t.command(&args);
    command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
    let mut child = command.spawn().unwrap();
    plan.started(&child);
    let code = wait(&mut child, &said, &plan);
    let met = plan.disarm();
    let said = std::fs::read_to_string(&said).unwrap_or_default();
    Run { code, met, calls: plan.calls(), said, scene }
}

/// The exit code, `None` when a signal ended it.
fn wait(child: &mut Child, said: &Path, plan: &Plan) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = plan.while_nothing_is_sent(|| child.try_wait().unwrap()) {
            return status.code();
        }
        if start.elapsed() > LIMIT {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("kiln still ran after {LIMIT:?}:\n{}", std::fs::read_to_string(said).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What is wrong after a run, if anything.
fn judge(run: Run, fault: Fault) -> Result<(), String> {
    let Run { code, calls, said, scene, .. } = run;
    let gc = scene.t.kiln(&["node", "gc"]);
    let (left, results) = (scene.left)();
    let books = std::fs::read_dir(scene.t.home().join(".local/state/kiln/node-builds")).map_or(0, |files| {
        files.filter(|file| file.as_ref().is_ok_and(|f| f.path().extension().is_some_and(|e| e == "jsonl"))).count()
    });
    let wrong = match (code, gc.code) {
        (_, gc) if gc != 0 => format!("gc ended with {gc}"),
        _ if !left.is_empty() => format!("left: {left:?}"),
        _ if books > 0 => format!("{books} books are left"),
        (Some(0), _) if results.is_empty() => "it succeeded, and there is no image".to_owned(),
        // One that was killed may have had its image already: `gc` would have deleted it if it was not struck out.
        (Some(1..), _) if !results.is_empty() => format!("it failed, and left {results:?}"),
        (Some(70 | 101), _) => "it panicked".to_owned(),
        (None, _) if !kills(fault) => "a signal ended it".to_owned(),
        _ => return Ok(()),
    };
    Err(format!("{wrong}\n--- kiln ({code:?})\n{said}\n--- gc\n{gc}\n--- calls\n{}", calls.join("\n")))
}

fn kills(fault: Fault) -> bool {
    matches!(fault, Fault::Signal(Signal::KILL) | Fault::SignalAfter(Signal::KILL))
}

/// Goes through calls and faults, several at once.
pub fn matrix(name: &str, raise: &Raise<'_>) {
    let good = run(raise, usize::MAX, Fault::None);
    let calls = good.calls.clone();
    assert!(calls.len() >= 5, "{name}: only {} calls: {calls:?}\n{}", calls.len(), good.said);
    assert_eq!(good.code, Some(0), "{}", good.said);
    if let Err(wrong) = judge(good, Fault::None) {
        panic!("{name}, with no fault: {wrong}");
    }
    let all = std::env::var_os("KILN_CLOUD_MATRIX").is_some_and(|value| value == "all");
    let cases: Vec<(usize, Fault)> = match all {
        true => (0..calls.len()).flat_map(|at| FAULTS.map(|fault| (at, fault))).collect(),
        // Neighbours meet different faults, and each fault every part of a run.
        false => {
            (0..calls.len()).flat_map(|at| [0, 3].map(|n| (at, FAULTS[(at * 5 + SEED + n) % FAULTS.len()]))).collect()
        }
    };
    let (next, missed, wrong) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((at, fault)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let run = run(raise, *at, *fault);
                    if !run.met {
                        missed.fetch_add(1, Ordering::Relaxed);
                    }
                    let outcome = judge(run, *fault);
                    if let Err(why) = outcome {
                        wrong.lock().unwrap().push(format!("{name}, {fault:?} at call {at} ({}): {why}", calls[*at]));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    let kinds: BTreeSet<&str> = calls.iter().map(|call| call.split('/').next_back().unwrap_or_default()).collect();
    let missed = missed.into_inner();
    println!(
        "{name}: {} calls of {} kinds, {} runs, {missed} without their fault",
        calls.len(),
        kinds.len(),
        cases.len()
    );
    // A run may ask once less whether something is ready.
    assert!(missed * 10 <= cases.len(), "{name}: {missed} of {} runs did not meet their fault", cases.len());
    assert!(
        wrong.is_empty(),
        "{} of {} runs went wrong:\n\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n\n========\n\n")
    );
}
