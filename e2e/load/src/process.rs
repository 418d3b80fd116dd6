//! What a process has used, from /proc.

use std::fs::{read_dir, read_link, read_to_string};

use crate::Failure;

/// A process of this machine.
#[derive(Debug, Clone)]
pub struct Process(String);

impl Process {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        Self("/proc/self".to_owned())
    }

    /// The one with that id.
    #[must_use]
    pub fn of(id: u32) -> Self {
        Self(format!("/proc/{id}"))
    }

    /// Bytes sent to the disk so far.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn disk_bytes(&self) -> Result<u64, Failure> {
        self.field("io", "write_bytes:")
    }

    /// The resident set in bytes.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn resident(&self) -> Result<u64, Failure> {
        Ok(self.field("status", "VmRSS:")? * 1024)
    }

    /// The largest resident set so far, in bytes.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn peak(&self) -> Result<u64, Failure> {
        Ok(self.field("status", "VmHWM:")? * 1024)
    }

    /// Seconds of processor time that it has used so far, in units of 10 ms.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn cpu(&self) -> Result<f64, Failure> {
        let text = read_to_string(format!("{}/stat", self.0))?;
        // Behind the name, which may have spaces: the 12th and 13th fields are the time of the program and of the kernel.
        let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
        let mut times = fields.split_whitespace().skip(11);
        let mut time = || Ok::<f64, Failure>(times.next().ok_or("/proc has no times")?.parse()?);
        Ok((time()? + time()?) / 100.0)
    }

    /// How many threads it has, but for those whose name begins with `but`.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn threads(&self, but: &str) -> Result<u64, Failure> {
        let threads = read_dir(format!("{}/task", self.0))?;
        // One that ends meanwhile has no name.
        let names = threads.filter_map(|thread| read_to_string(thread.ok()?.path().join("comm")).ok());
        Ok(names.filter(|name| !name.starts_with(but)).count() as u64)
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn descriptors(&self) -> Result<u64, Failure> {
        Ok(read_dir(format!("{}/fd", self.0))?.count() as u64)
    }

    /// How many of them are sockets.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn sockets(&self) -> Result<u64, Failure> {
        let open = read_dir(format!("{}/fd", self.0))?;
        // What is closed meanwhile leads nowhere.
        let leads_to = open.filter_map(|descriptor| read_link(descriptor.ok()?.path()).ok());
        Ok(leads_to
            .filter(|to| to.to_string_lossy().starts_with("socket:"))
            .count() as u64)
    }

    fn field(&self, file: &str, name: &str) -> Result<u64, Failure> {
        let file = format!("{}/{file}", self.0);
        let text = read_to_string(&file)?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let value = value.and_then(|value| value.split_whitespace().next());
        Ok(value.ok_or_else(|| format!("{file} has no {name}"))?.parse()?)
    }
}
