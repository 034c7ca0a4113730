//! What Millstream reads of its host before it starts: cores, quotas, limits, kernel and io_uring.
//!
//! [`Host::probe`] takes the picture, [`plan_cores`] chooses cores from it, and [`preflight`] tries a
//! ring and says what would keep the engine from running, with the fix. Nothing here changes the host, and
//! what cannot be read is unknown, not an error.

mod cgroup;
mod core_list;
mod host;
mod plan;
mod preflight;
mod process;
mod ring;
mod root;
#[cfg(test)]
mod testing;

pub use cgroup::{Cgroup, CpuQuota};
pub use core_list::{CoreListError, CoresSetting, MAX_CORE_ID, format_core_list, parse_core_list};
pub use host::{Host, KernelVersion};
pub use plan::{CoreError, CorePlan, first_core, plan_cores};
pub use preflight::{
    MEMLOCK_PER_RING_BYTES, Needs, Preflight, Problem, Severity, preflight, preflight_without_ring,
};
pub use process::{Limit, Process};
pub use ring::{MissingOperation, RingSupport, RingTier, try_ring};
pub use root::HostRoot;
