//! Running other programs: every command is shown before it runs, and a failure names it.
