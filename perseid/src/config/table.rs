//! The macro that makes the table of keys and the typed settings out of one list.

/// Takes the sections and keys once and gives
///
/// - `Settings` and one plain struct per section, fields named as the keys;
/// - `SECTIONS`, the table that everything else reads;
/// - `Settings::from_values`, from values in the order of the table.
///
/// A key is `/// doc`, then `name: type = "default", kind, Reload or Restart, "--option";`.
macro_rules! settings {
    (@option) => { None };
    (@option $option:literal) => { Some($option) };
    ($(
        $(#[doc = $section_doc:literal])+
        $section:ident: $Struct:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $default:literal, $kind:expr, $apply:ident $(, $option:literal)?;
            )+
        }
    )+) => {
        /// The effective configuration: read once, then passed down in parts.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Settings {
            $($(#[doc = $section_doc])+ pub $section: $Struct,)+
        }

        $(
            $(#[doc = $section_doc])+
            #[derive(Debug, Clone, PartialEq)]
            pub struct $Struct {
                $($(#[doc = $doc])+ pub $key: $type,)+
            }
        )+

        /// The table of keys, by section.
        pub static SECTIONS: &[Section] = &[$(
            Section {
                name: stringify!($section),
                doc: &[$($section_doc),+],
                keys: &[$(
                    Key {
                        section: stringify!($section),
                        name: stringify!($key),
                        kind: $kind,
                        default: $default,
                        option: settings!(@option $($option)?),
                        apply: Apply::$apply,
                        doc: &[$($doc),+],
                    },
                )+],
            },
        )+];

        impl Settings {
            /// The settings of one value per key, in the order of the table; `None` if a value
            /// is missing or does not fit its field.
            pub(super) fn from_values<'a>(mut values: impl Iterator<Item = &'a Value>) -> Option<Self> {
                // Fields are evaluated in the order written, which is the order of the table.
                Some(Self {
                    $($section: $Struct {
                        $($key: Setting::from_value(values.next()?)?,)+
                    },)+
                })
            }
        }
    };
}

pub(super) use settings;
