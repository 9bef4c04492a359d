//! Every metric of the workspace: name, unit and help, in one place.
