//! The testbed that `e2e/test` has started, and its one operator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::RwLock;

use crate::command::{Output, run};

/// Held for reading by tests that need a running operator that nobody disturbs, and for writing by those that
/// stop or upgrade it, or count what it does.
pub static CALM: RwLock<()> = RwLock::new(());

/// The testbed.
#[derive(Clone, Copy, Debug)]
pub struct Bed;

/// What can be done to a machine of the testbed.
#[derive(Clone, Copy, Debug)]
pub enum Machine {
    /// Power off.
    Stop,
    /// Power on.
    Start,
}

impl Bed {
    /// The namespace of the operator.
    pub const OPERATOR_NAMESPACE: &'static str = "pliant-system";

    /// The project's root folder.
    pub fn root() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    /// A command of the folder e2e.
    pub fn command(name: &str) -> Command {
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(name))
    }

    /// kubectl against the testbed.
    pub fn kubectl(arguments: &[&str]) -> Output {
        run(Self::command("kubectl").args(arguments))
    }

    /// Installs or upgrades the operator with further `values` (`name=value`), and waits until it is ready.
    pub fn upgrade_operator(values: &[&str]) {
        let tags = format!(
            "image.tag={},node.version={}",
            setting("PLIANT_E2E_OPERATOR_TAG"),
            setting("PLIANT_E2E_NODE_TAG")
        );
        let mut helm = Self::command("helm");
        helm.args(["upgrade", "--install", "pliant-operator"])
            .arg(Self::root().join("helm/pliant-operator"))
            .args([
                "--namespace",
                Self::OPERATOR_NAMESPACE,
                "--wait",
                "--timeout",
                "3m",
                "--set",
                &tags,
            ]);
        for value in values {
            helm.args(["--set", value]);
        }
        run(&mut helm).ok();
    }

    /// The version tag of the node's image.
    pub fn node_tag() -> String {
        setting("PLIANT_E2E_NODE_TAG")
    }

    /// Where the API server logs what service accounts ask of it.
    pub fn audit_log() -> PathBuf {
        setting("PLIANT_E2E_AUDIT_LOG").into()
    }

    /// Switches a machine of the testbed.
    pub fn machine(action: Machine, number: &str) {
        let action = match action {
            Machine::Stop => "stop",
            Machine::Start => "start",
        };
        let testbed = setting("PLIANT_TESTBED");
        run(Self::command("testbed/testbed").args(["--name", &testbed, "node", action, number])).ok();
    }
}

fn setting(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: these tests are run by e2e/test cluster"))
}
