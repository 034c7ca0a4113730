//! What Millstream reads of its host before it starts: cores, quotas, kernel and io_uring.

mod core_list;

pub use core_list::{CoreListError, CoresSetting, MAX_CORE_ID, format_core_list, parse_core_list};
