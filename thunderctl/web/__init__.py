"""The web page at the controller's `/`: what `status --json` says, as pictures and tables. It owns no logic"""
