//! What disks and appliers do, and how long it takes them.

use pliantdb_cluster::Input;
use pliantdb_cluster::applier::Task;
use rand::RngExt;
use xxhash_rust::xxh3::xxh3_64;

use super::{Happening, MS, World};

impl World {
    /// Gives the disk what waits, if it is idle.
    pub(super) fn write(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        let (log, slowness, life) = (machine.log.clone(), machine.disk_slowness, machine.life);
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.is_writing || process.to_write.is_empty() {
            return;
        }
        match process.begin_write(&log) {
            Ok(number) => {
                let delay = self.random.random_range(200_000..3 * MS) * slowness;
                self.schedule(delay, Happening::DiskDone { host, life, number });
            }
            Err(error) => {
                self.say(|| format!("machine {host} cannot write its log: {error}"));
                self.crash(host);
            }
        }
    }

    pub(super) fn disk_done(&mut self, host: usize, life: u64, number: u64) {
        let Some(machine) = self.hosts.get_mut(host).filter(|machine| machine.life == life) else {
            return;
        };
        let log = machine.log.clone();
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.end_write(&log).is_err() {
            return self.crash(host);
        }
        if self
            .waits(host, Happening::DiskDone { host, life, number })
            .is_none()
        {
            if let Some(process) = self.process(host) {
                process.is_writing = true;
            }
            return;
        }
        self.step(host, Input::Persisted(number));
        self.write(host);
    }

    /// Lets the applier begin its next task, if it is idle.
    pub(super) fn work(&mut self, host: usize) {
        let Some(machine) = self.hosts.get_mut(host) else {
            return;
        };
        let life = machine.life;
        let Some(process) = machine.process.as_mut() else {
            return;
        };
        if process.is_applying || process.tasks.is_empty() {
            return;
        }
        process.is_applying = true;
        let slow = self.random.random_bool(0.02);
        let delay = match slow {
            true => self.random.random_range(MS..200 * MS),
            false => self.random.random_range(10_000..500_000),
        };
        self.schedule(delay, Happening::Apply { host, life });
    }

    pub(super) fn apply(&mut self, host: usize, life: u64) {
        let is_alive = self
            .hosts
            .get(host)
            .is_some_and(|machine| machine.life == life && machine.process.is_some());
        if !is_alive || self.waits(host, Happening::Apply { host, life }).is_none() {
            return;
        }
        let Some(process) = self.process(host) else {
            return;
        };
        process.is_applying = false;
        let Some(task) = process.tasks.pop_front() else {
            return;
        };
        self.note_applied(host, &task);
        let Some(process) = self.process(host) else {
            return;
        };
        let installing = match &task {
            Task::Install { group } => Some(*group),
            _ => None,
        };
        let done = process.applier.run(task);
        if let Some(pliantdb_cluster::applier::Done::Failed { error, .. }) = &done
            && matches!(error, pliantdb_storage::StorageError::Commit(_))
        {
            // What a store that cannot write has done only recovery can tell.
            self.say(|| format!("machine {host} cannot write its state: {error}"));
            self.notice_failed(host, installing);
            return self.crash(host);
        }
        if let Some(done) = done {
            self.notice_done(host, &done);
            self.step(host, Input::Done(done));
        }
        self.work(host);
    }

    /// Notes which entry each replica applies where.
    fn note_applied(&mut self, host: usize, task: &Task) {
        let Task::Apply { group, entries } = task else {
            return;
        };
        let process = self.hosts.get(host).and_then(|machine| machine.process.as_ref());
        let Some(incarnation) = process.and_then(|process| process.node.incarnation(*group)) else {
            return;
        };
        for entry in entries {
            self.say(|| {
                format!(
                    "machine {host} applies {group} {} {} {:?} {:?}",
                    entry.index,
                    entry.term,
                    entry.command.as_ref().map(|command| command.timestamp),
                    entry.config
                )
            });
            let digest = xxh3_64(format!("{:?}", entry.command).as_bytes());
            let key = (*group, incarnation, entry.index);
            let (term, other, known) = *self.applied.entry(key).or_insert((entry.term, host, digest));
            if (term, known) != (entry.term, digest) {
                let differs = format!(
                    "machines {other} and {host} apply different entries {} of group {group} in {incarnation}, of \
                     terms {term} and {}",
                    entry.index, entry.term
                );
                self.say(|| differs.clone());
                self.differing.push(differs);
            }
        }
    }
}
