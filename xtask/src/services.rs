//! The engines of the scaled mode: in the background for a developer, or for the duration of the tests. The
//! crate `services` does the work; this module only runs it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::install;
use crate::parts::{Outcome, built, cargo, run};

/// The variable that names the file with the engines' addresses; tests read it.
const FILE_VARIABLE: &str = "FIRSTCOME_SERVICES";

/// `cargo xtask services up`, `status`, `down`.
pub(crate) fn command(arguments: &[String]) -> Outcome {
    if arguments.first().is_some_and(|command| command == "up") {
        install::for_services()?;
    }
    run(cargo(&["run", "--release", "--quiet", "--package", "services", "--"]).args(arguments))
}

/// The engines shared by the tests. They end when this is dropped, and when this process ends.
pub(crate) struct Services {
    /// `None` if the environment names other engines.
    own: Option<Own>,
}

struct Own {
    holder: Child,
    file: PathBuf,
}

impl Services {
    /// Starts one of each, unless the environment names some.
    pub(crate) fn start() -> Result<Self, String> {
        if std::env::var_os(FILE_VARIABLE).is_some() {
            return Ok(Self { own: None });
        }
        let file = std::env::temp_dir().join(format!("firstcome-services-{}", std::process::id()));
        let holder = Command::new(built("services"))
            .arg("hold-attached")
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the services: {error}"))?;
        let mut own = Own { holder, file };
        while !own.file.exists() {
            if let Ok(Some(status)) = own.holder.try_wait() {
                return Err(format!("the services ended with {status}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { own: Some(own) })
    }

    /// Passes the addresses to a test program.
    pub(crate) fn tell(&self, program: &mut Command) {
        if let Some(own) = &self.own {
            program.env(FILE_VARIABLE, &own.file);
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
        let _ = std::fs::remove_file(&self.file);
    }
}
