//! The machine of a run, and the processor time used. All data comes from `/proc`; on systems other than
//! Linux it is unknown.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// Linux counts processor time for user space in hundredths of a second, on
/// every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    pub cpu: String,
    pub kernel: String,
}

impl Machine {
    pub(crate) fn read() -> Machine {
        Machine {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: cpu_model().unwrap_or_else(|| "unknown".to_owned()),
            kernel: kernel().unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn kernel() -> Option<String> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    Some(format!("Linux {}", release.trim()))
}

/// The processor time of a process up to now, in ticks.
pub(crate) struct CpuMark {
    path: String,
    ticks: Option<u64>,
}

impl CpuMark {
    pub(crate) fn of_this_process() -> CpuMark {
        CpuMark::at("/proc/self/stat".to_owned())
    }

    pub(crate) fn of(pid: u32) -> CpuMark {
        CpuMark::at(format!("/proc/{pid}/stat"))
    }

    fn at(path: String) -> CpuMark {
        let ticks = ticks(&path);
        CpuMark { path, ticks }
    }

    /// Percent of one core since the mark was taken.
    pub(crate) fn percent_since(&self, span: Duration) -> Option<f64> {
        let used = ticks(&self.path)?.checked_sub(self.ticks?)?;
        let seconds = used as f64 / TICKS_PER_SECOND;
        let percent = 100.0 * seconds / span.as_secs_f64();
        percent.is_finite().then_some(percent)
    }
}

fn ticks(path: &str) -> Option<u64> {
    parse_ticks(&fs::read_to_string(path).ok()?)
}

/// The program's name is in parentheses and may contain anything, so fields are counted after the last
/// closing one (proc(5): fields 14 and 15 are the time in user space and in the kernel).
fn parse_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_a_name_with_spaces_and_parentheses() {
        let stat = "42 (a ) b (c) S 1 2 3 4 5 6 7 8 9 10 700 55 0 0 20 0";
        assert_eq!(parse_ticks(stat), Some(755));
        assert_eq!(parse_ticks("42 (x) S 1 2"), None);
    }

    #[test]
    fn a_process_that_does_not_exist_has_no_share() {
        let mark = CpuMark::of(u32::MAX);
        assert_eq!(mark.percent_since(Duration::from_secs(1)), None);
    }
}
