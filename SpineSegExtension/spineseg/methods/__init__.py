"""One file a method: settings, fit() and predict(); and the steps that methods share."""
