//! The nodes together: how they are formed to a cluster, and what a fault does to them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use load::Failure;

use crate::bed::control::{Control, Forming, Mode, is_settled, leader};
use crate::bed::disk::Disk;
use crate::bed::hosts::{Hosts, Treatment};
use crate::bed::node::{Node, Place};
use crate::bed::wall::Wall;
use crate::builds::Builds;
use crate::nemesis::say;
use crate::plan::{Fault, Host};

/// What the nodes are made of.
#[derive(Debug, Clone)]
pub struct Parts {
    /// How many.
    pub nodes: usize,
    /// The mode of a cluster of several.
    pub mode: Mode,
    /// The binary.
    pub program: PathBuf,
    /// Another one, which some nodes begin as.
    pub other_program: Option<PathBuf>,
    /// Those nodes.
    pub others: Vec<usize>,
    /// Whether each start is one or the other instead, by the dice.
    pub mixed: bool,
    /// The program that carries packets.
    pub network: PathBuf,
    /// The library of wrong clocks.
    pub clock: PathBuf,
    /// Bytes of each disk.
    pub disk_size: u64,
    /// The seed, of packets that are lost.
    pub seed: u64,
    /// Where all of it is.
    pub folder: PathBuf,
}

/// The nodes; all of it is gone when this is dropped.
pub struct Cluster {
    // The processes end before their hosts are gone.
    nodes: Vec<Node>,
    hosts: Hosts,
    mode: Mode,
    builds: Builds,
    folder: PathBuf,
    token_file: PathBuf,
    /// The administrator's token.
    pub token: String,
    /// Nodes that lost their disks in the fault that is on, for another that leads may not.
    wiped: Option<usize>,
    tokens: usize,
}

/// Tells of what was refused, which is no failure.
fn refused(fault: &Fault, asked: Result<(), Failure>) -> Result<(), Failure> {
    if let Err(error) = asked {
        say(&format!("{fault}: {error}"));
    }
    Ok(())
}

impl Cluster {
    /// Makes hosts, disks and clocks; no node is started yet.
    ///
    /// # Errors
    /// When one cannot be made.
    pub fn make(parts: &Parts) -> Result<Self, Failure> {
        let token = format!("chaos-{:016x}", parts.seed);
        let token_file = parts.folder.join("token");
        std::fs::write(&token_file, &token)?;
        let hosts = Hosts::make(&parts.network, parts.nodes, parts.seed)?;
        let (program, other) = (parts.program.clone(), parts.other_program.clone());
        let builds = Builds::new(program, other, parts.mixed, parts.seed);
        let node = |index: usize| {
            let name = Host::Node(index).to_string();
            let disk = Disk::make(&parts.folder.join(&name), parts.disk_size)?;
            let wall = Wall::make(&parts.clock, parts.folder.join(format!("{name}.clock")))?;
            let program = builds.first(parts.others.contains(&index));
            Ok::<_, Failure>(Node::new(
                index,
                &parts.folder,
                disk,
                wall,
                program,
                token_file.clone(),
            ))
        };
        Ok(Self {
            nodes: (0..parts.nodes).map(node).collect::<Result<_, _>>()?,
            hosts,
            mode: parts.mode,
            builds,
            folder: parts.folder.clone(),
            token_file,
            token,
            wiped: None,
            tokens: 0,
        })
    }

    /// The host of the clients, for their threads.
    ///
    /// # Errors
    /// When it is gone.
    pub fn clients(&self) -> Result<std::fs::File, Failure> {
        self.hosts.clients()
    }

    /// What clients know of the nodes.
    #[must_use]
    pub fn places(&self) -> Vec<Arc<Place>> {
        self.nodes.iter().map(|node| Arc::clone(&node.place)).collect()
    }

    /// How many nodes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn node(&mut self, index: usize) -> Result<(&mut Node, &Hosts), Failure> {
        let node = self
            .nodes
            .get_mut(index)
            .ok_or_else(|| format!("there is no node {index}"))?;
        Ok((node, &self.hosts))
    }

    fn control<'c>(&'c self, node: usize, program: &'c Path) -> Control<'c> {
        Control {
            program,
            hosts: &self.hosts,
            node,
            token_file: &self.token_file,
        }
    }

    /// Starts a node: the first founds a cluster if it is of several, and the others join it.
    ///
    /// # Errors
    /// When it cannot be started or has nobody to join.
    pub fn start(&mut self, index: usize) -> Result<(), Failure> {
        let forming = match (self.nodes.len(), index) {
            (1, _) => Forming::Alone,
            (_, 0) => Forming::Found,
            _ => self.join()?,
        };
        self.node(index)?.0.forming = forming;
        self.launch(index)
    }

    /// Starts a node's process, as the build that is its turn.
    fn launch(&mut self, index: usize) -> Result<(), Failure> {
        let drawn = self.builds.draw();
        let (node, hosts) = self.node(index)?;
        if let Some(program) = drawn {
            say(&format!("{} starts as {}", node.name(), program.display()));
            node.program = program;
        }
        node.start(hosts)
    }

    /// How to join, by a token of whichever node can make one.
    fn join(&mut self) -> Result<Forming, Failure> {
        let invitation = self.by_any(|control| control.invite())?;
        self.tokens += 1;
        let token_file = self.folder.join(format!("join-{}", self.tokens));
        std::fs::write(&token_file, invitation.token)?;
        Ok(Forming::Join {
            seeds: invitation.seeds,
            token_file,
        })
    }

    /// Brings a cluster of several to its mode.
    ///
    /// # Errors
    /// When it is refused, or does not end.
    pub fn switch(&self) -> Result<(), Failure> {
        match (self.nodes.len(), self.mode) {
            (1, _) | (_, Mode::OneLeader) => Ok(()),
            _ => self.control(0, &self.builds.program).switch(self.mode),
        }
    }

    /// Lets a leader be replaced that was away for so many seconds.
    ///
    /// # Errors
    /// When it is refused.
    pub fn fail_over_after(&self, seconds: u64) -> Result<(), Failure> {
        self.by_any(|control| control.fail_over_after(seconds))
    }

    /// Asks one node after the other until one does it: any may be away.
    fn by_any<T>(&self, ask: impl Fn(&Control<'_>) -> Result<T, Failure>) -> Result<T, Failure> {
        let mut last = None;
        for node in 0..self.nodes.len() {
            match ask(&self.control(node, &self.builds.program)) {
                Ok(done) => return Ok(done),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| "there is no node".into()))
    }

    /// Whether nothing is under way in a cluster of several, as every node sees it.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let is_settled = |node| {
            self.control(node, &self.builds.program)
                .status()
                .is_ok_and(|status| is_settled(&status))
        };
        self.nodes.len() == 1 || (0..self.nodes.len()).all(is_settled)
    }

    /// Lets a fault begin.
    ///
    /// # Errors
    /// When it cannot be done, or a process did not do what it was told to.
    pub fn begin(&mut self, fault: &Fault) -> Result<(), Failure> {
        match fault {
            Fault::Kill(node) => self.node(*node)?.0.kill(),
            Fault::Stop(node) => self.node(*node)?.0.stop(),
            Fault::Cut(ways) => {
                let cut = Treatment {
                    cut: true,
                    ..Treatment::default()
                };
                self.hosts.treat(ways, cut)
            }
            Fault::Slow {
                ways,
                delay_ms,
                jitter_ms,
                bytes_per_second,
            } => {
                let slow = Treatment {
                    delay_ms: *delay_ms,
                    jitter_ms: *jitter_ms,
                    bytes_per_second: *bytes_per_second,
                    ..Treatment::default()
                };
                self.hosts.treat(ways, slow)
            }
            Fault::Lossy { ways, loss, repeat } => {
                #[allow(clippy::cast_precision_loss, reason = "a number below 100")]
                let share = |percent: &u64| *percent as f64 / 100.0;
                let lossy = Treatment {
                    loss: share(loss),
                    repeat: share(repeat),
                    ..Treatment::default()
                };
                self.hosts.treat(ways, lossy)
            }
            Fault::Disk { node, room } => {
                let (node, _) = self.node(*node)?;
                node.was_full = true;
                node.disk.fill(*room)
            }
            Fault::Clock { node, step_ms } => self.node(*node)?.0.wall.step(*step_ms),
            Fault::Wipe(node) => self.wipe(*node),
            Fault::Restart { node, upgrades } => {
                let program = upgrades.then(|| self.builds.program.clone());
                let (ending, _) = self.node(*node)?;
                let ended = ending.end();
                if let Some(program) = program {
                    ending.program = program;
                }
                self.launch(*node)?;
                ended
            }
            // An owner's wish may be refused: the node may be away, or too few be left.
            Fault::Promote(node) => {
                let name = Host::Node(*node).to_string();
                refused(fault, self.by_any(|control| control.promote(&name)))
            }
            Fault::Drain(node) => {
                let name = Host::Node(*node).to_string();
                refused(fault, self.by_any(|control| control.drain(&name)))
            }
            Fault::Switch => refused(
                fault,
                self.by_any(|control| control.begin_switch(self.mode.other())),
            ),
        }
    }

    /// Lets a fault end.
    ///
    /// # Errors
    /// When it cannot be done.
    pub fn end(&mut self, fault: &Fault) -> Result<(), Failure> {
        match fault {
            Fault::Kill(node) => self.launch(*node),
            Fault::Stop(node) => self.node(*node)?.0.go_on(),
            Fault::Cut(ways) | Fault::Slow { ways, .. } | Fault::Lossy { ways, .. } => {
                self.hosts.treat(ways, Treatment::default())
            }
            Fault::Disk { node, .. } => {
                let (full, _) = self.node(*node)?;
                full.disk.free()?;
                // It may end when its disk is full to the last byte, and is started again when there is room.
                match full.has_ended() {
                    Some(_) => self.launch(*node),
                    None => Ok(()),
                }
            }
            Fault::Clock { node, .. } => self.node(*node)?.0.wall.step(0),
            Fault::Wipe(_) => self.come_back(),
            Fault::Restart { .. } | Fault::Promote(_) => Ok(()),
            Fault::Drain(node) => {
                let name = Host::Node(*node).to_string();
                self.by_any(|control| control.undrain(&name))
            }
            // The other fault of the round may go on, so it need not end here: who waits for all to be well sees to it.
            Fault::Switch => self.by_any(|control| control.begin_switch(self.mode)),
        }
    }

    /// A node loses its disk; with one leader another than that one, whose data nobody else need have: then it is the next.
    fn wipe(&mut self, index: usize) -> Result<(), Failure> {
        let count = self.nodes.len();
        let mut index = index;
        if count > 1 && self.mode == Mode::OneLeader {
            let status = self.by_any(|control| control.status())?;
            let leads = leader(&status).ok_or_else(|| format!("nobody leads: {status}"))?;
            if self.nodes.get(index).is_some_and(|node| node.name() == leads) {
                index = (index + 1) % count;
            }
        }
        let (node, _) = self.node(index)?;
        node.kill()?;
        node.disk.wipe()?;
        let name = node.name().to_owned();
        self.wiped = Some(index);
        match count {
            1 => Ok(()),
            _ => self.by_any(|control| control.remove_lost(&name)),
        }
    }

    fn come_back(&mut self) -> Result<(), Failure> {
        let Some(index) = self.wiped.take() else {
            return Ok(());
        };
        let count = self.nodes.len();
        let forming = match count {
            1 => Forming::Alone,
            _ => self.join()?,
        };
        self.node(index)?.0.forming = forming;
        self.launch(index)
    }

    /// Starts again the nodes that have ended without being told to; gives what is to be said of each.
    ///
    /// # Errors
    /// When one cannot be started.
    pub fn raise(&mut self) -> Result<Vec<String>, Failure> {
        let mut said = Vec::new();
        for index in 0..self.nodes.len() {
            let (node, _) = self.node(index)?;
            if let Some(status) = node.has_ended() {
                if !node.lacked_room() {
                    let (name, words) = (node.name(), node.last_words());
                    said.push(format!("{name} ended by itself, with {status}:\n{words}"));
                }
                self.launch(index)?;
            }
        }
        Ok(said)
    }

    /// All is well again: what was wrong before is no reason any more.
    pub fn is_well(&mut self) {
        self.nodes.iter_mut().for_each(|node| node.was_full = false);
    }

    /// Tells all nodes to end, and gives what is wrong with how they did.
    pub fn shut_down(&mut self) -> Vec<String> {
        let ended = self.nodes.iter_mut().filter_map(|node| node.end().err());
        let mut wrong: Vec<String> = ended.map(|error| error.to_string()).collect();
        for node in &self.nodes {
            let panics = node.place.panics();
            wrong.extend(
                panics
                    .into_iter()
                    .map(|panic| format!("{}: {panic}", node.name())),
            );
        }
        wrong
    }
}
