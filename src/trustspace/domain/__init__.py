"""What the parties say to each other and what follows from it: records, rules, who may, and when."""
