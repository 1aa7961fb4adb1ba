"""Parquet tables: their schemas, and the store whose committed parts are the only record of finished work."""
