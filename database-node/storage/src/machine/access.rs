//! Users, roles and API keys.

use pliantdb_core::access::AccountsChange;

use super::Applying;
use crate::accounts;
use crate::error::StorageError;
use crate::keys;
use crate::store::OrderedStore;

impl<S: OrderedStore> Applying<'_, S> {
    pub(super) fn change_accounts(&mut self, change: &AccountsChange) -> Result<(), StorageError> {
        let mut changed = match self.changed_accounts.take() {
            Some(changed) => changed,
            None => self.accounts.clone(),
        };
        let result = changed.change(change);
        for account in result.iter().flatten() {
            let key = keys::account(account);
            match accounts::encode(&changed, account)? {
                Some(record) => self.pending.put_unread(key, record),
                None => self.pending.delete_unread(key),
            }
        }
        // Nothing has changed in them when it is rejected.
        self.changed_accounts = Some(changed);
        result?;
        Ok(())
    }
}
