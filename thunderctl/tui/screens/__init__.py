"""The screens: the deployment on one page, a rebalance to confirm, logs that are followed, and a page of text."""
