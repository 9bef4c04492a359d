//! Names of registered templates on the command line.

use std::str::FromStr;

/// NAMESPACE/NAME/VERSION.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TemplateName {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) version: String,
}

impl FromStr for TemplateName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split('/').collect::<Vec<_>>().as_slice() {
            [namespace, name, version]
                if !namespace.is_empty() && !name.is_empty() && !version.is_empty() =>
            {
                Ok(Self {
                    namespace: (*namespace).to_owned(),
                    name: (*name).to_owned(),
                    version: (*version).to_owned(),
                })
            }
            _ => Err(String::from(
                "write NAMESPACE/NAME/VERSION, such as shop/orders/1.0.0",
            )),
        }
    }
}
