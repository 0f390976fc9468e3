"""The controller's HTTP API: what runs, what happens, and what may be asked for, by people who may"""
