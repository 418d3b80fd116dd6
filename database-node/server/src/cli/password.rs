//! Passwords, asked for on the terminal.

use std::io::{self, BufRead, Write, stderr, stdin};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::failure::Failure;

/// Shows what the terminal was told to hide, also when reading fails.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks for a password, which does not appear on the terminal.
///
/// # Errors
/// When there is no terminal, or nothing was typed.
pub(crate) fn ask(prompt: &str) -> Result<String, Failure> {
    let read = || {
        write!(stderr(), "{prompt}")?;
        let mut line = String::new();
        let hidden = Hidden::begin()?;
        let read = stdin().lock().read_line(&mut line);
        drop(hidden);
        writeln!(stderr())?;
        read.map(|_| line)
    };
    let line =
        read().map_err(|error: io::Error| Failure::usage(format!("cannot ask for the password: {error}")))?;
    let password = line.trim_end_matches(['\n', '\r']);
    match password.is_empty() {
        false => Ok(password.to_owned()),
        true => Err(Failure::usage("no password was given")),
    }
}
