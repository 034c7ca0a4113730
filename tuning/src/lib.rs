//! What Millstream reads of its host.
