//! Brings the schema `tasker` up to date. (Stub.)
