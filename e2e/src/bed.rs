//! The testbed that `e2e/test` has started, and its one operator.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::RwLock;
use std::time::Duration;

use crate::command::{Output, run, wait_for};

/// Held for reading by tests that need a running operator that nobody disturbs, and for writing by those that
/// stop or upgrade it, or count what it does.
pub static CALM: RwLock<()> = RwLock::new(());

/// The testbed.
#[derive(Clone, Copy, Debug)]
pub struct Bed;

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

    /// Upgrades the operator to what `e2e/up` installed with further `values` (`name=value`), and waits until
    /// it is ready.
    pub fn upgrade_operator(values: &[&str]) {
        let operator = [
            "-n",
            Self::OPERATOR_NAMESPACE,
            "get",
            "deployment/pliant-operator",
        ];
        let image = Self::kubectl(&[&operator[..], &["-o", "jsonpath={..image}"]].concat()).ok();
        let tags = format!("image.tag={},node.version={}", tag(&image), Self::node_tag());
        let mut helm = Self::command("helm");
        helm.args(["upgrade", "pliant-operator"])
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

    /// The version tag of the nodes that `e2e/up` installed; its database is left as it is by every test.
    pub fn node_tag() -> String {
        let quickstart = [
            "get",
            "pliantcluster",
            "quickstart",
            "-o",
            "jsonpath={.status.image}",
        ];
        tag(&Self::kubectl(&quickstart).ok()).to_string()
    }

    /// How many replicas of the operator run.
    pub fn scale_operator(replicas: &str) {
        let replicas = format!("--replicas={replicas}");
        let namespace = ["-n", Self::OPERATOR_NAMESPACE];
        Self::kubectl(
            &[
                &namespace[..],
                &["scale", "deployment/pliant-operator", &replicas],
            ]
            .concat(),
        )
        .ok();
    }

    /// Waits until no replica of the operator runs.
    ///
    /// # Panics
    /// When one still does after a minute.
    pub fn await_no_operator() {
        let pods = ["-n", Self::OPERATOR_NAMESPACE, "get", "pods", "-o", "name"];
        wait_for(
            "the end of the operator",
            Duration::from_secs(60),
            || Self::kubectl(&pods).ok(),
            String::is_empty,
        );
    }

    /// Gives the image of the nodes a second name on every machine, as a later version would have.
    pub fn name_image_again(image: &str, again: &str) {
        for node in Self::kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])
            .ok()
            .split(' ')
        {
            let mut testbed = Self::command("testbed/testbed");
            testbed.args([
                "--name",
                &setting("PLIANT_TESTBED"),
                "node",
                "exec",
                node.trim_start_matches("node"),
            ]);
            testbed.args([
                "ctr",
                "--namespace",
                "k8s.io",
                "images",
                "tag",
                "--force",
                image,
                again,
            ]);
            run(&mut testbed).ok();
        }
    }

    /// Where the API server logs what service accounts ask of it.
    pub fn audit_log() -> PathBuf {
        setting("PLIANT_E2E_AUDIT_LOG").into()
    }
}

/// Sees to it that the operator runs as `e2e/up` installed it, also when a test ends in a panic: tests that
/// stop or upgrade the operator hold one.
#[derive(Debug)]
pub struct OperatorRestored;

impl Drop for OperatorRestored {
    fn drop(&mut self) {
        Bed::upgrade_operator(&["replicas=1"]);
    }
}

fn tag(image: &str) -> &str {
    image.rsplit(':').next().unwrap_or_default()
}

fn setting(name: &str) -> String {
    std::env::var(name)
        .unwrap_or_else(|_| panic!("{name} is not set: these tests are run by e2e/test cluster"))
}
