//! Whether a member that closes leaves its group.

/// What a member says to its group when it closes (KIP-1092).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MembershipOperation {
    /// A dynamic member leaves, a static one keeps its place until its session times out.
    #[default]
    Default,
    /// It leaves, so that others get its partitions at once.
    Leave,
    /// It keeps its place until its session times out, or it is back under its `group.instance.id`.
    Remain,
}
