"""Read files of BioLogic's EC-Lab and BT-Lab, binary and as text."""
