//! `wire_struct!`: a message, or a structure inside one, as a table of its fields.
//!
//! ```text
//! wire_struct! {
//!     /// What it is.
//!     pub struct HeartbeatRequest {
//!         group_id: KafkaString;
//!         group_instance_id: Option<KafkaString>, versions 3..;
//!         host: Option<KafkaString>, versions 1.., nullable 7.., default None;
//!         epoch: i64, versions 3.., tag 1, default -1;
//!     }
//! }
//! ```
//!
//! A row is a field in wire order: its name and Rust type (see [`Wire`](super::Wire) for the types), then, if it
//! applies, in this order:
//! - `versions`: the range that has the field; all if absent. Outside of it the field is not written, whatever it
//!   holds, and reads as its default.
//! - `nullable`: the range in which an `Option` may be null; all if absent.
//! - `tag`: it is a tagged field of that number, written only if it differs from its default.
//! - `default`: the value if the version lacks the field; `Default::default()` if absent.

/// Defines a structure of the protocol with both directions of its codec; the module documents the table.
macro_rules! wire_struct {
    (
        $(#[$attr:meta])*
        pub struct $name:ident {
            $(
                $(#[$field_attr:meta])*
                $field:ident : $ty:ty
                    $(, versions $versions:expr)?
                    $(, nullable $nullable:expr)?
                    $(, tag $tag:literal)?
                    $(, default $default:expr)?
                ;
            )*
        }
    ) => {
        $(#[$attr])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            $(
                $(#[$field_attr])*
                #[doc = concat!("`", stringify!($field), "` of Kafka's schema.")]
                $(#[doc = concat!("Tagged field  ", stringify!($tag), ".")])?
                $(#[doc = concat!("Versions `", stringify!($versions), "`.")])?
                $(#[doc = concat!("Nullable in versions `", stringify!($nullable), "`.")])?
                $(#[doc = concat!("Default `", stringify!($default), "`.")])?
                pub $field: $ty,
            )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: wire_field!(@default $($default)?),)* }
            }
        }

        impl $crate::kafka::wire::Wire for $name {
            #[allow(unused_mut, unused_variables)]
            fn read(
                r: &mut $crate::kafka::wire::Reader,
                v: $crate::kafka::wire::Version,
            ) -> Result<Self, $crate::kafka::wire::WireError> {
                let mut value = Self::default();
                $(
                    if wire_field!(@untagged $($tag)?) && wire_field!(@in v $($versions)?) {
                        value.$field = $crate::kafka::wire::Wire::read(r, v)
                            .map_err(|e| e.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
                        wire_field!(@check_null value.$field, v, $name, $field $(, $nullable)?);
                    }
                )*
                if v.flexible {
                    r.tagged_fields(|r, tag| {
                        $(wire_field!(@read_tag r, v, tag, value.$field, $name, $field, [$($tag)?], [$($versions)?]);)*
                        Ok(false)
                    }).map_err(|e| e.in_field(concat!(stringify!($name), " tagged fields")))?;
                }
                Ok(value)
            }

            #[allow(unused_mut, unused_variables)]
            fn write(
                &self,
                w: &mut $crate::kafka::wire::Writer,
                v: $crate::kafka::wire::Version,
            ) -> Result<(), $crate::kafka::wire::WireError> {
                $(
                    if wire_field!(@untagged $($tag)?) && wire_field!(@in v $($versions)?) {
                        wire_field!(@check_null self.$field, v, $name, $field $(, $nullable)?);
                        $crate::kafka::wire::Wire::write(&self.$field, w, v)
                            .map_err(|e| e.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
                    }
                )*
                if v.flexible {
                    let mut count = 0u32;
                    $(wire_field!(@count_tag count, v, self.$field, [$($tag)?], [$($versions)?], [$($default)?]);)*
                    w.uvarint(count);
                    $(wire_field!(@write_tag w, v, self.$field, $name, $field, [$($tag)?], [$($versions)?], [$($default)?]);)*
                }
                Ok(())
            }

            fn min_len(v: $crate::kafka::wire::Version) -> usize {
                usize::from(v.flexible)
                    $(
                        + if wire_field!(@untagged $($tag)?) && wire_field!(@in v $($versions)?) {
                            <$ty as $crate::kafka::wire::Wire>::min_len(v)
                        } else {
                            0
                        }
                    )*
            }
        }

        #[cfg(test)]
        impl $crate::kafka::wire::sample::Sample for $name {
            #[allow(unused_variables)]
            fn sample(s: &mut $crate::kafka::wire::sample::Sampler, v: $crate::kafka::wire::Version) -> Self {
                let mut value = Self::default();
                $(
                    if wire_field!(@in v $($versions)?) && (wire_field!(@untagged $($tag)?) || v.flexible) {
                        loop {
                            value.$field = $crate::kafka::wire::sample::Sample::sample(s, v);
                            wire_field!(@again_if_null value.$field, v $(, $nullable)?);
                            break;
                        }
                    }
                )*
                value
            }
        }

        impl $crate::kafka::wire::Nullable for $name {
            fn read_nullable(
                r: &mut $crate::kafka::wire::Reader,
                v: $crate::kafka::wire::Version,
            ) -> Result<Option<Self>, $crate::kafka::wire::WireError> {
                if r.i8()? < 0 { Ok(None) } else { $crate::kafka::wire::Wire::read(r, v).map(Some) }
            }

            fn write_nullable(
                value: Option<&Self>,
                w: &mut $crate::kafka::wire::Writer,
                v: $crate::kafka::wire::Version,
            ) -> Result<(), $crate::kafka::wire::WireError> {
                w.i8(if value.is_some() { 1 } else { -1 });
                value.map_or(Ok(()), |value| $crate::kafka::wire::Wire::write(value, w, v))
            }

            fn min_nullable_len(_: $crate::kafka::wire::Version) -> usize {
                1
            }
        }
    };
}

/// The parts of a row of `wire_struct!` that depend on which columns are filled in.
macro_rules! wire_field {
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };

    (@untagged) => { true };
    (@untagged $tag:literal) => { false };

    (@in $v:ident) => { true };
    (@in $v:ident $versions:expr) => { ($versions).contains(&$v.api) };

    (@check_null $value:expr, $v:ident, $name:ident, $field:ident) => {};
    (@check_null $value:expr, $v:ident, $name:ident, $field:ident, $nullable:expr) => {
        if $value.is_none() && !($nullable).contains(&$v.api) {
            return Err($crate::kafka::wire::WireError::from($crate::kafka::wire::WireErrorKind::UnexpectedNull)
                .in_field(concat!(stringify!($name), ".", stringify!($field))));
        }
    };

    (@again_if_null $value:expr, $v:ident) => {};
    (@again_if_null $value:expr, $v:ident, $nullable:expr) => {
        if $value.is_none() && !($nullable).contains(&$v.api) {
            continue;
        }
    };

    (@read_tag $r:ident, $v:ident, $seen:ident, $value:expr, $name:ident, $field:ident, [], [$($versions:expr)?]) => {};
    (@read_tag $r:ident, $v:ident, $seen:ident, $value:expr, $name:ident, $field:ident, [$tag:literal], [$($versions:expr)?]) => {
        if $seen == $tag && wire_field!(@in $v $($versions)?) {
            $value = $crate::kafka::wire::Wire::read($r, $v)
                .map_err(|e| e.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
            return Ok(true);
        }
    };

    (@count_tag $count:ident, $v:ident, $value:expr, [], [$($versions:expr)?], [$($default:expr)?]) => {};
    (@count_tag $count:ident, $v:ident, $value:expr, [$tag:literal], [$($versions:expr)?], [$($default:expr)?]) => {
        if wire_field!(@in $v $($versions)?) && $crate::kafka::wire::codec::differs(&$value, &wire_field!(@default $($default)?)) {
            $count += 1;
        }
    };

    (@write_tag $w:ident, $v:ident, $value:expr, $name:ident, $field:ident, [], [$($versions:expr)?], [$($default:expr)?]) => {};
    (@write_tag $w:ident, $v:ident, $value:expr, $name:ident, $field:ident, [$tag:literal], [$($versions:expr)?], [$($default:expr)?]) => {
        if wire_field!(@in $v $($versions)?) && $crate::kafka::wire::codec::differs(&$value, &wire_field!(@default $($default)?)) {
            $w.tagged_field($tag, |w| $crate::kafka::wire::Wire::write(&$value, w, $v))
                .map_err(|e| e.in_field(concat!(stringify!($name), ".", stringify!($field))))?;
        }
    };
}

pub(crate) use {wire_field, wire_struct};
