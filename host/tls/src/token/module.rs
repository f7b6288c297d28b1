//! PKCS#11 modules: loaded once in a process, and a session with a token for each sign-in.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};
use cryptoki::types::AuthPin;

use super::uri::TokenUri;
use crate::pin::Pin;
use crate::settings::{SettingError, SettingNames};

/// The loaded modules. One is never unloaded: other connections may sign with it.
static MODULES: Mutex<BTreeMap<PathBuf, Pkcs11>> = Mutex::new(BTreeMap::new());
/// Hashes of token and PIN that the token has refused. A token locks itself after a few wrong ones, so none is tried twice.
static REFUSED: Mutex<BTreeSet<[u8; 32]>> = Mutex::new(BTreeSet::new());

/// A key that can sign.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) key: ObjectHandle,
    pub(super) mechanisms: Vec<MechanismType>,
}

/// Opens a session with the token and finds the key.
pub(super) fn open(
    module: &Path,
    wanted: &TokenUri,
    pin: Option<&str>,
    names: &SettingNames,
    of_key: impl Fn(String) -> SettingError,
) -> Result<Opened, SettingError> {
    let path = module.display();
    let of_module =
        |reason: String| SettingError { setting: names.of("pkcs11_module"), value: Some(path.to_string()), reason };
    let context = load(module).map_err(of_module)?;
    let failed = |what: &str, error: Error| of_key(format!("failed to {what}: {error}"));
    let (slot, token) = find_token(&context, wanted, &of_key)?;
    let mechanisms = context.get_mechanism_list(slot).map_err(|error| failed("list what the token can do", error))?;
    let session = context.open_ro_session(slot).map_err(|error| failed("open a session with the token", error))?;
    log_in(&session, &token, pin, names)?;
    let mut template = vec![Attribute::Class(ObjectClass::PRIVATE_KEY)];
    template.extend(wanted.object.clone().map(Attribute::Label));
    template.extend(wanted.id.clone().map(Attribute::Id));
    let found = session.find_objects(&template).map_err(|error| failed("look for the key", error))?;
    match found.as_slice() {
        [key] => Ok(Opened { session, key: *key, mechanisms }),
        [] => {
            let label = token.label();
            Err(of_key(format!(
                "the token {label:?} has no such private key; `pkcs11-tool --module {path} --login --list-objects` lists its keys"
            )))
        }
        many => Err(of_key(format!("{} private keys of the token fit; add ;id= to choose one", many.len()))),
    }
}

fn load(module: &Path) -> Result<Pkcs11, String> {
    let mut modules = MODULES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(loaded) = modules.get(module) {
        return Ok(loaded.clone());
    }
    let context =
        Pkcs11::new(module).map_err(|error| format!("is not a PKCS#11 module that can be loaded: {error}"))?;
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(error) => return Err(format!("failed to start: {error}")),
    }
    modules.insert(module.to_owned(), context.clone());
    Ok(context)
}

fn find_token(
    context: &Pkcs11,
    wanted: &TokenUri,
    of_key: &impl Fn(String) -> SettingError,
) -> Result<(Slot, TokenInfo), SettingError> {
    let slots = context.get_slots_with_token();
    let slots = slots.map_err(|error| of_key(format!("failed to list the tokens: {error}")))?;
    let tokens: Vec<_> =
        slots.into_iter().filter_map(|slot| Some((slot, context.get_token_info(slot).ok()?))).collect();
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|wanted| wanted == found.trim_end());
    let fits = |token: &TokenInfo| {
        is(&wanted.token, token.label())
            && is(&wanted.serial, token.serial_number())
            && is(&wanted.manufacturer, token.manufacturer_id())
            && is(&wanted.model, token.model())
            && token.token_initialized()
    };
    let found: Vec<_> = tokens.iter().filter(|(_, token)| fits(token)).collect();
    match found.as_slice() {
        [(slot, token)] => Ok((*slot, token.clone())),
        [] => {
            let labels: Vec<_> = tokens.iter().map(|(_, token)| format!("{:?}", token.label())).collect();
            let labels = if labels.is_empty() { "none".to_owned() } else { labels.join(", ") };
            Err(of_key(format!("there is no such token; the module has {labels}")))
        }
        many => Err(of_key(format!("{} tokens fit; add ;token= or ;serial= to choose one", many.len()))),
    }
}

fn log_in(session: &Session, token: &TokenInfo, pin: Option<&str>, names: &SettingNames) -> Result<(), SettingError> {
    if !token.login_required() {
        return Ok(());
    }
    let setting = names.of("key_password");
    let wrong = |reason: String| SettingError { setting: setting.clone(), value: None, reason };
    let label = token.label();
    let Some(pin) = pin else { return Err(wrong(format!("is not set, and the token {label:?} wants a PIN; set it"))) };
    let attempt = Pin::fingerprint(format!("{}\0{label}\0{pin}", token.serial_number()).as_bytes()).into_bytes();
    let mut refused = REFUSED.lock().unwrap_or_else(PoisonError::into_inner);
    if refused.contains(&attempt) {
        return Err(wrong(format!(
            "is not the PIN of the token {label:?}; it is not tried again, because tokens lock themselves"
        )));
    }
    match session.login(UserType::User, Some(&AuthPin::new(pin.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(()),
        Err(Error::Pkcs11(RvError::PinLocked, _)) => {
            Err(wrong(format!("the token {label:?} is locked after too many wrong PINs; unlock it with its own tool")))
        }
        Err(Error::Pkcs11(RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange, _)) => {
            refused.insert(attempt);
            Err(wrong(format!("is not the PIN of the token {label:?}; correct it before the token locks itself")))
        }
        Err(error) => Err(wrong(format!("the token {label:?} refused the PIN: {error}"))),
    }
}
