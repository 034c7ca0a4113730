//! What Millstream reads of its host before it starts: cores, quotas, limits, kernel and io_uring.
//!
//! [`Host::probe`] takes the picture, [`plan_cores`] chooses cores from it. Nothing here changes the host, and
//! what cannot be read is unknown, not an error.

mod cgroup;
mod core_list;
mod host;
mod plan;
mod process;
mod root;
#[cfg(test)]
mod testing;

pub use cgroup::{Cgroup, CpuQuota};
pub use core_list::{CoreListError, CoresSetting, MAX_CORE_ID, format_core_list, parse_core_list};
pub use host::{Host, KernelVersion};
pub use plan::{CoreError, CorePlan, plan_cores};
pub use process::{Limit, Process};
pub use root::HostRoot;
